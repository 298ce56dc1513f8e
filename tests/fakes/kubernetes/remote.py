"""Exec and attach over WebSocket: v4.channel.k8s.io, and v5, which can close one direction.

Each binary message begins with the number of its channel. Source: k8s.io/apimachinery/pkg/util/remotecommand, and
kubernetes/enhancements KEP-4006.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp import WSMsgType, web

from tests.fakes.kubernetes import errors
from tests.fakes.kubernetes.processes import CannotStart, Program
from tests.fakes.kubernetes.resources import PODS

if TYPE_CHECKING:
    from tests.fakes.kubernetes.container import Container
    from tests.fakes.kubernetes.kubelet import Kubelet
    from tests.fakes.kubernetes.podrun import PodRun
    from tests.fakes.kubernetes.resources import Target
    from tests.fakes.kubernetes.store import Store

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
SUCCESS: Final[dict[str, Any]] = {"metadata": {}, "status": "Success"}


def exit_status(code: int) -> dict[str, Any]:
    """The Status that tells an exit code on channel 3."""
    if code == 0:
        return SUCCESS
    causes = [{"reason": "ExitCode", "message": str(code)}]
    failed = {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
    return failed | {
        "message": f"command terminated with non-zero exit code: error executing command, exit code {code}"
    }


class Stream:
    """One open WebSocket. `kind` is exec or attach; what is `stalled` brings nothing and does not end."""

    def __init__(self, streams: Streams, request: web.Request, run: PodRun, container: Container, kind: str) -> None:
        self.streams = streams
        self.request = request
        self.run = run
        self.container = container
        self.kind = kind
        self.ws = web.WebSocketResponse(protocols=streams.protocols, max_msg_size=0, compress=False, autoping=False)
        self.deaf = False
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.sent = self.received = self.pings = 0

    @property
    def pod(self) -> str:
        return self.run.name

    @property
    def command(self) -> list[str]:
        return self.request.query.getall("command", [])

    async def send(self, channel: int, data: bytes) -> None:
        """One message; what a client that has gone does not get is dropped."""
        await self.go_on.wait()
        if self.streams.bytes_per_second and channel in {STDOUT, STDERR}:
            await self.run.clock.sleep(len(data) / self.streams.bytes_per_second)
        self.sent += len(data)
        with contextlib.suppress(ConnectionError, RuntimeError):
            if not self.ws.closed:
                await self.ws.send_bytes(bytes((channel,)) + data)

    async def finish(self, status: dict[str, Any]) -> None:
        """The status, and the end of the WebSocket."""
        if self.run.streams_succeed:
            await self.run.clock.sleep(self.run.kubelet.timings.eviction_streams)
            status = SUCCESS
        await self.send(ERROR, json.dumps(status).encode())
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self.ws.close()

    async def read(self, program: Program) -> None:
        """Hands what the client sends to the program, until the client has gone."""
        async for message in self.ws:
            if message.type is WSMsgType.PING and not self.deaf:
                await self.ws.pong(message.data)
                self.pings += 1
            await self.go_on.wait()
            if message.type is not WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == STDIN and self.wants("stdin"):
                self.received += len(data)
                await program.write(data)
            elif channel == CLOSE and self.ws.ws_protocol == V5 and data[:1] == bytes((STDIN,)):
                program.write_eof()
            elif channel == RESIZE:
                size = json.loads(data)
                program.resize(size.get("Width", 80), size.get("Height", 24))

    def wants(self, channel: str) -> bool:
        return self.request.query.get(channel, "") in {"1", "t", "T", "true", "TRUE", "True"}  # as Go reads it

    def cut(self) -> None:
        """Breaks the connection: no status, no close frame."""
        if self.request.transport is not None:
            self.request.transport.abort()  # type: ignore[attr-defined]


class Streams:
    """All streams, and what a test does to them. `bytes_per_second` makes the output slow; 0 is as fast as it goes."""

    def __init__(self, store: Store, kubelets: dict[str, Kubelet], protocols: tuple[str, ...]) -> None:
        self.store = store
        self.kubelets = kubelets
        self.protocols = protocols
        self.bytes_per_second = 0.0
        self.open: list[Stream] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self, pod: str = "", kind: str = "") -> None:
        """Breaks the streams of one pod, or all, as a balancer does. What an exec started goes on, without input.

        With a `kind` only those of exec, or of attach.
        """
        for one in self._of(pod, kind):
            one.cut()

    def stall(self, pod: str = "", kind: str = "", *, deaf: bool = False) -> None:
        """From now on these streams carry nothing in either direction, and stay open.

        A ping is answered, unless they are `deaf`.
        """
        for one in self._of(pod, kind):
            one.go_on.clear()
            one.deaf = deaf

    def _of(self, pod: str, kind: str) -> list[Stream]:
        return [one for one in self.open if pod in {"", one.pod} and kind in {"", one.kind}]

    def resume(self) -> None:
        """They carry again, what was held first."""
        for one in self.open:
            one.go_on.set()

    async def close(self) -> None:
        self.resume()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for task in self._tasks:
            task.cancel()

    def find(self, request: web.Request, target: Target) -> tuple[PodRun, Container]:
        """The running container that a request names; ApiError as the server words it."""
        pod = self.store.get(PODS, target.namespace, target.name)
        node = pod["spec"].get("nodeName")
        if node is None:
            raise errors.bad_request(f"pod {target.name} does not have a host assigned")
        kubelet = self.kubelets[node]
        if not kubelet.reports:
            raise errors.internal("error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout")
        name = request.query.get("container") or pod["spec"]["containers"][0]["name"]
        if name not in [one["name"] for one in pod["spec"]["containers"]]:
            raise errors.bad_request(f"container {name} is not valid for pod {target.name}")
        run = kubelet.runs.get(pod["metadata"]["uid"])
        container = next((one for one in run.containers if one.name == name), None) if run else None
        if run is None or container is None:
            raise errors.internal(f'unable to upgrade connection: container not found ("{name}")')
        return run, container

    async def _open(self, request: web.Request, target: Target, kind: str) -> Stream:
        if not {"stdin", "stdout", "stderr"} & set(request.query):
            raise errors.bad_request("you must specify at least 1 of stdin, stdout, stderr")
        run, container = self.find(request, target)
        if container.pid is None:
            raise errors.internal(f'unable to upgrade connection: container not found ("{container.name}")')
        offered = request.headers.get("Sec-WebSocket-Protocol", "").replace(" ", "").split(",")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise errors.bad_request("unable to upgrade: this server speaks WebSocket alone, and no SPDY")
        if not set(offered) & set(self.protocols):
            known = ", ".join(self.protocols)
            raise errors.bad_request(f"unable to upgrade: none of the protocols {', '.join(offered)} is known: {known}")
        stream = Stream(self, request, run, container, kind)
        await stream.ws.prepare(request)
        self.open.append(stream)
        await stream.send(STDOUT if stream.wants("stdout") else ERROR, b"")  # tells the client that all is ready
        return stream

    async def exec(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Runs a program in the container. Its Status carries the exit code."""
        if not request.query.getall("command", []):
            raise errors.bad_request("you must specify at least one command for the container")
        stream = await self._open(request, target, "exec")
        try:
            program = await stream.container.run(
                stream.command, stdin=stream.wants("stdin"), on_tty=stream.wants("tty")
            )
        except CannotStart as error:
            text = "error executing command in container: failed to exec in container: failed to start exec: OCI "
            text += f"runtime exec failed: exec failed: unable to start container process: {error}: unknown"
            await stream.finish(errors.internal(text).body())
            self.open.remove(stream)
            return stream.ws

        async def follow() -> None:
            code = await program.read(stream.send)
            await program.close()
            await stream.finish(exit_status(code))

        self._background(follow())
        try:
            await stream.read(program)
        finally:
            # A client that has gone ends the input alone: the program goes on.
            program.write_eof()
            self.open.remove(stream)
        return stream.ws

    async def attach(self, request: web.Request, target: Target) -> web.StreamResponse:
        """The streams of PID 1. Its Status says Success, whatever the exit code is."""
        stream = await self._open(request, target, "attach")
        container, program = stream.container, stream.container.program
        assert program is not None
        queue: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()

        def hand_on(channel: int, data: bytes) -> None:
            queue.put_nowait((channel, data))

        async def follow() -> None:
            ended = asyncio.create_task(container.ended.wait())
            ended.add_done_callback(lambda _task: queue.put_nowait(None))
            while (item := await queue.get()) is not None:
                await stream.send(*item)
            await stream.finish(SUCCESS)

        container.attached.add(hand_on)
        following = self._background(follow())
        try:
            await stream.read(program)
        finally:
            container.attached.discard(hand_on)
            self.open.remove(stream)
            if container.spec.get("stdinOnce") and stream.wants("stdin"):
                program.write_eof()
            if not container.ended.is_set():
                following.cancel()
        return stream.ws

    def _background(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
