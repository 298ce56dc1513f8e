"""An agent in a pod of its own: its streams, its exit, and its end with a proof.

It is started by exec, beside the pod's dead-man. A stream that is cut says nothing about the agent, and a stream that
ends with Success may be that of a pod that is evicted: so the cluster is asked. The proof of an end is a look from
inside, two in a row, or the kubelet's word that the container has ended. An object that is gone proves nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Never

from acpbot.aio import TaskSet
from acpbot.errors import AgentGone, AgentStartError
from acpbot.logs import get_logger
from acpbot.runtimes.ends import exit_status, out_of_memory
from acpbot.runtimes.kubernetes import agent_start, look_inside
from acpbot.runtimes.kubernetes.agent_start import Begin, Marks
from acpbot.runtimes.kubernetes.deadman import DeadMan
from acpbot.runtimes.kubernetes.exec_stream import PING_SECONDS, StreamRefused, open_stream
from acpbot.runtimes.kubernetes.kill_inside import ask_fate, kill_inside
from acpbot.runtimes.kubernetes.pod_ref import Fate
from acpbot.runtimes.kubernetes.run_inside import CommandNotRun, run_inside
from acpbot.runtimes.pipes import StderrRing
from acpbot.runtimes.runtime import exit_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.runtimes.kubernetes.channels import ExecStatus
    from acpbot.runtimes.kubernetes.exec_stream import ExecStream
    from acpbot.runtimes.kubernetes.kill_inside import Pods
    from acpbot.runtimes.kubernetes.look_inside import Listing
    from acpbot.runtimes.kubernetes.pod_ref import PodRef
    from acpbot.runtimes.kubernetes.run_inside import Output, Targets
    from acpbot.runtimes.runtime import KillReport, LaunchSpec, LimitNotHeld, ProcessInfo, StdoutSink, Usage

log = get_logger(__name__)

_START_SECONDS: Final = 30.0
_ASK_SECONDS: Final = 10.0
_REASON_SECONDS: Final = 5.0
_QUIET_SECONDS: Final = 0.25
_QUIET_MOST_SECONDS: Final = 2.0
_CUT_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.3
_LAST_TRY_SECONDS: Final = 5.0
_DISCARD_SECONDS: Final = 2.0
_SIGNALLED: Final = 128
_KILLED: Final = _SIGNALLED + 9
_FORBIDDEN: Final = 403
_LOST: Final = 255
"""The exit code of an agent of which nobody can tell how it has ended."""


class KubernetesProcess:
    """An `acpbot.runtimes.runtime.AgentProcess` in a pod; made by `start_process`."""

    def __init__(
        self,
        targets: Targets,
        pods: Pods,
        pod: PodRef,
        spec: LaunchSpec,
        stdout: StdoutSink,
        *,
        limits_not_held: tuple[LimitNotHeld, ...] = (),
        pace: float = 1.0,
    ) -> None:
        self.session_id = spec.session_id
        self.pod = pod
        self.pid: int | None = None
        self.place: str | None = pod.place
        self.place_ref: dict[str, Any] | None = {
            "context": targets.context,
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        }
        self.unseen: str | None = None
        self.stderr = StderrRing()
        self.limits_not_held = limits_not_held
        self.alive: bool | None = True
        self.returncode: int | None = None
        self.end_reason: str | None = None
        self._targets = targets
        self._pods = pods
        self._spec = spec
        self._sink = stdout
        self._stream: ExecStream | None = None
        self._deadman = DeadMan(self._on_deadman_cut, pace=pace)
        self._pace = pace
        self._mark = secrets.token_hex(16)
        self._marks = Marks(self._mark, self.stderr.feed, self._on_mark)
        self._begin = Begin(0, 0)
        self._began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._told_code: int | None = None
        self._not_run: str | None = None
        self._quiet: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0
        self._paused = self._eof = self._stream_is_over = self._ended_here = self._closed = False
        self._settled: KillReport | None = None
        self._exited = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._tasks = TaskSet("kubernetes")

    @property
    def settled(self) -> bool:
        """Whether nothing is left to end, as a look, the kubelet, or the dead-man's time has shown."""
        return self._settled is not None

    async def start(self) -> None:
        """Start the agent; return once its program is about to run. Raises AgentStartError, OSError, ValueError."""
        spec = self._spec
        head = agent_start.head(self._mark, spec.argv, str(spec.cwd), spec.env)
        await self._deadman.attach(self._targets, self.pod)
        target = await self._targets.exec_target(self.pod.name, agent_start.COMMAND, stdin=True)
        self._stream = await open_stream(target, self, ping_seconds=PING_SECONDS * self._pace)
        self._stream.write(head)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._began
        except TimeoutError as error:
            raise CommandNotRun(f"nothing started in the pod {self.pod.name} within {_START_SECONDS:g} s") from error

    # what the streams tell

    def stdout_received(self, data: bytes) -> None:
        """Pass it on. What comes after the agent's end delays the news of it for a moment."""
        if self._eof:
            return
        self._sink.data_received(data)
        if self._quiet is not None:
            self._wait_for_quiet()

    def stderr_received(self, data: bytes) -> None:
        """Keep it, but for the marks."""
        self._marks.feed(data)

    def stream_ended(self, status: ExecStatus | None) -> None:
        """Find out how the agent is: a stream's end alone does not say."""
        self._marks.flush()
        self._stream_is_over = True
        if not self._began.done():
            reason = "the connection was cut" if status is None else status.message or "its shell ended"
            self._not_begun(CommandNotRun(f"the agent can't be started in the pod {self.pod.name}: {reason}"))
        code = self._told_code
        if code is None and status is not None and status.code:  # Success without a mark is none of the agent's
            code = status.code
        if self._exited.is_set():
            self._on_eof()
        self._on_end(code)

    def _on_mark(self, words: list[str]) -> None:
        if (begin := agent_start.read_begin(words)) is not None:
            if not self._began.done():  # a later one is of an agent that has found out the mark
                self._begin = begin
                self._began.set_result(None)
        elif (code := agent_start.read_exit(words)) is not None:
            self._told_code = code
            self._wait_for_end()
        elif (reason := agent_start.why_not_started(words, self._spec.argv[0], str(self._spec.cwd))) is not None:
            if self._began.done():
                self._not_run = reason.partition(";")[0]
            else:
                self._not_begun(AgentStartError(f"cannot start the agent: {reason}"))

    def _not_begun(self, error: Exception) -> None:
        self._began.set_exception(error)
        self._began.exception()  # it may be that nobody waits for it any more

    def _wait_for_end(self) -> None:
        """The stream ends at once, unless a process that the agent has left holds it open: then wait for a silence."""
        self._quiet_until = time.monotonic() + _QUIET_MOST_SECONDS
        self._wait_for_quiet()

    def _wait_for_quiet(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
        seconds = min(_QUIET_SECONDS, max(0.0, self._quiet_until - time.monotonic()))
        self._quiet = asyncio.get_running_loop().call_later(seconds, self._on_quiet)

    def _on_quiet(self) -> None:
        self._quiet = None
        if not self._paused:
            self._on_end(self._told_code)

    def _on_deadman_cut(self) -> None:
        if not self._began.done():
            self._not_begun(CommandNotRun(f"the pod {self.pod.name} has ended, or the connection to it was cut"))
        if not self._exited.is_set():
            self._tasks.start(self._after_deadman_cut(), name=f"the end of {self.pod.name}")

    async def _after_deadman_cut(self) -> None:
        """The dead-man ends the pod now, and with it this stream; where the stream stays silent too, it is cut."""
        try:
            async with asyncio.timeout(_CUT_SECONDS * self._pace):
                await self._exited.wait()
        except TimeoutError:
            self._stream_is_over = True
            self._on_end(self._told_code)

    # what is done to it

    def write(self, data: bytes) -> None:
        """Queue ``data`` for stdin."""
        if self.alive is not True or self._stream is None:
            self._refuse_to_write()
        self._stream.write(data)

    def pause_reading(self) -> None:
        """Leave its output in the connection; the agent blocks once that is full."""
        self._paused = True
        if self._stream is not None:
            self._stream.pause()

    def resume_reading(self) -> None:
        """Read its output again."""
        self._paused = False
        if self._stream is not None:
            self._stream.resume()
        if self._told_code is not None and self._ending is None:
            self._wait_for_end()

    def close_stdin(self, flush_seconds: float = 1.0) -> None:
        """Send EOF; where the cluster can't (before Kubernetes 1.30), SIGTERM."""
        if self._stream is not None:
            self._stream.close_stdin(flush_seconds, self.terminate)

    async def wait(self) -> int:
        """Wait until the agent ends or nobody can reach it any more; return its exit code, 255 where it is unknown."""
        await self._exited.wait()
        if self.returncode is None:
            raise AgentGone("cannot wait for the agent: its session was closed while its pod could not be ended")
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM to the agent and its process group."""
        self._ended_here = True
        self._signal("TERM")

    def kill(self) -> None:
        """Send SIGKILL to the agent and its process group."""
        self._ended_here = True
        self._signal("KILL")

    async def look(self) -> list[ProcessInfo]:
        """Look from inside. Raises `OSError`."""
        if self.settled:
            return []
        try:
            return list((await self._listing()).processes)
        except (StreamRefused, CommandNotRun):
            if await self._has_ended():
                return []
            raise

    async def usage(self) -> Usage:
        """Return what it uses, from a look inside. Raises `OSError`."""
        return (await self._listing()).usage

    async def kill_all(self, deadline_seconds: float = 5.0) -> KillReport:
        """End every process of the pod, and begin to remove the pod once it is proved that none is left.

        Where its node does not answer, nothing is proved, and nothing is forced. Raises `OSError`.
        """
        if self._settled is not None:
            return replace(self._settled, killed=0, looks=0, seconds=0.0)
        self._ended_here = True
        report = await kill_inside(
            self._targets,
            self._pods,
            self.pod,
            agent=self._begin,
            deadman=self._deadman,
            seconds=deadline_seconds,
        )
        if report.settled:
            self._settle(report)
        return report

    async def aclose(self) -> None:
        """Release the streams, end what may still run, release the rest. Raises `OSError`."""
        if self._closed and self.settled:
            return
        try:
            if not self.settled:
                await self.kill_all(_LAST_TRY_SECONDS)
        finally:
            self._closed = True
            await self.release()

    async def discard(self) -> None:
        """End what a start that has failed may have begun, and release the streams."""
        try:
            if self._stream is not None:
                await self.kill_all(_DISCARD_SECONDS)
        except OSError as error:
            log.warning("pod_not_ended", session=self.session_id, pod=self.pod.name, reason=str(error))
        finally:
            await self.release()

    async def release(self) -> None:
        """Release the streams; the dead-man ends the pod then. May be called again."""
        if self._quiet is not None:
            self._quiet.cancel()
        self._on_eof()
        await self._tasks.cancel()
        await self._deadman.release()
        if self._stream is not None:
            await self._stream.aclose()
        self._exited.set()

    # how it has ended

    def _on_end(self, code: int | None) -> None:
        """Find out why; ``code``: what the agent's shell or its stream has told, ``None`` where nobody has."""
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        if self._ending is None and not self._exited.is_set():
            self.alive = None if code is None else False
            self._ending = self._tasks.start(self._find_end(code), name=f"the end of {self.pod.name}")

    async def _find_end(self, code: int | None) -> None:
        alive: bool | None = False
        reason = self._not_run
        if code is None:
            fate = await self._ask_until_answered()
            alive = False if fate.alive is False else None
            reason = fate.reason or ("the pod has ended" if alive is False else "the connection to the pod was cut")
        elif reason is None and not self._ended_here and (self._told_code is None or code > _SIGNALLED):
            reason = await self._why(code)
        if alive is None:
            self.kill()  # without its streams it is of no use
        self._exit(_LOST if code is None else exit_status(code), alive=alive, reason=reason)

    async def _ask_until_answered(self) -> Fate:
        """What the cluster says of the pod; while it can't be asked, it is asked again for some seconds."""
        deadline = time.monotonic() + _ASK_SECONDS
        while True:
            try:
                return await ask_fate(self._pods, self.pod, max(0.1, deadline - time.monotonic()))
            except OSError as error:
                log.warning("pod_fate_unknown", session=self.session_id, pod=self.pod.name, reason=str(error))
                if time.monotonic() >= deadline:
                    return Fate(None, "the cluster can't be reached")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _why(self, code: int) -> str | None:
        """Why something that is not the agent has ended it; ``None`` where nothing is known of that."""
        try:
            async with asyncio.timeout(_REASON_SECONDS):
                while (fate := await self._pods.fate(self.pod)).alive is True:
                    try:
                        kills = int((await self._run(look_inside.OOM_KILLS)).out)
                    except (StreamRefused, CommandNotRun):
                        # It has ended, and its kubelet has not reported that yet.
                        await asyncio.sleep(_RETRY_SECONDS)
                    else:
                        return out_of_memory(self._spec.memory_max) if kills and code == _KILLED else None
                return fate.reason
        except (OSError, ValueError) as error:
            log.debug("pod_end_not_explained", session=self.session_id, reason=str(error))
        return None

    def _exit(self, returncode: int, *, alive: bool | None, reason: str | None) -> None:
        if self.returncode is None:
            self.alive = alive
            self.returncode = returncode
            self.end_reason = reason or exit_text(returncode)
            if self._stream_is_over:
                self._on_eof()
            self._exited.set()

    def _settle(self, report: KillReport) -> None:
        self._settled = report
        self._exit(exit_status(_KILLED if self._told_code is None else self._told_code), alive=False, reason=None)
        self.alive = False
        self._pods.gone(self.pod)

    # inside

    async def _run(self, command: Sequence[str]) -> Output:
        return await run_inside(self._targets, self.pod, command)

    async def _listing(self) -> Listing:
        output = await self._run(look_inside.LOOK)
        return look_inside.read_look(output.out, pid=self._begin.pid, parent=self._begin.parent)

    async def _has_ended(self) -> bool:
        return (await ask_fate(self._pods, self.pod)).alive is False

    def _signal(self, name: str) -> None:
        if not self.settled and self.returncode is None and self._begin.pid:
            self._tasks.start(self._send(name), name=f"SIG{name} {self.pod.name}")

    async def _send(self, name: str) -> None:
        try:
            await self._run(look_inside.signal_command(name, *self._begin))
        except OSError as error:
            log.warning("pod_not_signalled", session=self.session_id, signal=name, reason=str(error))

    def _on_eof(self) -> None:
        if not self._eof:
            self._eof = True
            self._sink.eof()

    def _refuse_to_write(self) -> Never:
        how = "" if self.end_reason is None else f" ({self.end_reason})"
        raise AgentGone(f"cannot write to the agent: it has ended{how}; start a new session")


async def start_process(
    targets: Targets,
    pods: Pods,
    pod: PodRef,
    spec: LaunchSpec,
    stdout: StdoutSink,
    *,
    limits_not_held: tuple[LimitNotHeld, ...] = (),
    pace: float = 1.0,
) -> KubernetesProcess:
    """Start an agent in a pod that runs; cancelled, or where it fails, the pod ends, and its object stays.

    ``pace``: how long it waits for a connection that is silent, as a factor. Raises `AgentStartError`.
    """
    process = KubernetesProcess(targets, pods, pod, spec, stdout, limits_not_held=limits_not_held, pace=pace)
    try:
        await process.start()
    except BaseException as error:
        # Broad: also where it is cancelled, the pod is to end.
        await asyncio.shield(process.discard())
        if isinstance(error, ValueError):
            raise AgentStartError(f"cannot start the agent: {error}; correct its settings") from error
        if isinstance(error, OSError):
            way_out = f"see `kubectl describe --namespace {pod.namespace} pod/{pod.name}`, and the log"
            if isinstance(error, StreamRefused) and error.status == _FORBIDDEN:
                way_out = "let acpbot create and get pods/exec and pods/attach"
            raise AgentStartError(f"cannot start the agent: {error.strerror or error}; {way_out}") from error
        raise
    return process
