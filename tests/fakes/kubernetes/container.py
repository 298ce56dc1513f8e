"""One container of a pod: its program, its log, who is attached, and the state that the kubelet reports."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.fakes.kubernetes.clock import Clock, stamp
from tests.fakes.kubernetes.processes import CannotStart, Program, Setup, pids_in, resident, run_beside
from tests.fakes.kubernetes.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

MEMORY_SECONDS = 0.1
"""How often the memory of a container with a limit is looked at, in real seconds."""


@dataclass(eq=False)
class Container:
    """`spec` as in the pod; `state` and `last_state` as in its status."""

    spec: dict[str, Any]
    clock: Clock
    state: dict[str, Any] = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    log: list[tuple[datetime, bytes]] = field(default_factory=list)
    attached: set[Callable[[int, bytes], object]] = field(default_factory=set)
    setup: Setup | None = None
    program: Program | None = None
    killed_because: str = ""
    namespace: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _partial: dict[int, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def pid(self) -> int | None:
        """PID 1 as a process of this machine; ``None`` when it does not run."""
        return None if self.program is None else self.program.pid

    def waits(self, reason: str, message: str = "") -> None:
        self.state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}

    async def start(self, setup: Setup) -> None:
        """Starts PID 1; CannotStart, and a terminated state, where that fails."""
        self.setup, self.killed_because = setup, ""
        self.ended.clear()
        began = stamp(self.clock.now())
        wants_stdin = bool(self.spec.get("stdin"))
        try:
            self.program = await Program.start(setup.start(), setup.environ, stdin=wants_stdin, on_tty=setup.tty)
        except CannotStart as error:
            text = (
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create"
            )
            text += f" failed: unable to start container process: {error}: unknown"
            self._terminated(128, "StartError", began, text)
            raise CannotStart(text) from error
        if (pid := self.program.pid) is not None:
            self.namespace = os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 - it is no path
        self.state = {"running": {"startedAt": began}}

    async def wait(self) -> int:
        """Reads what it writes until it ends; its exit code."""
        assert self.program is not None
        began = self.state["running"]["startedAt"]
        code = await self.program.read(self._output)
        for channel, rest in self._partial.items():
            self._keep(channel, rest)
        self._partial.clear()
        await self.program.close()
        reason = self.killed_because or ("Completed" if code == 0 else "Error")
        self._terminated(code, reason, began)
        return code

    def _terminated(self, code: int, reason: str, began: str, message: str = "") -> None:
        ended = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": stamp(self.clock.now())}
        if message:
            ended["message"] = message
        self.state = {"terminated": ended | {"containerID": self.id}}
        self.ended.set()

    @property
    def id(self) -> str:
        return f"containerd://{id(self):064x}"

    def _output(self, channel: int, data: bytes) -> None:
        *lines, self._partial[channel] = (self._partial.get(channel, b"") + data).split(b"\n")
        for line in lines:
            self._keep(channel, line + b"\n")
        for hand_on in list(self.attached):
            hand_on(channel, data)

    def _keep(self, _channel: int, line: bytes) -> None:
        if line:
            self.log.append((self.clock.now(), line))

    def signal(self, number: signal.Signals) -> None:
        if self.program is not None and self.program.is_running:
            self.program.signal(number)

    def kill(self, because: str = "") -> None:
        """Ends all its processes by force; `because` is the reason in the status, such as OOMKilled."""
        self.killed_because = because or self.killed_because
        self.signal(signal.SIGKILL)

    async def watch_memory(self) -> None:
        """Kills it, as the kernel does, where it takes more memory than its limit."""
        limit = ((self.spec.get("resources") or {}).get("limits") or {}).get("memory")
        while limit is not None:
            if sum(map(resident, self.pids())) > quantity(limit):
                self.kill("OOMKilled")
                return
            await asyncio.sleep(MEMORY_SECONDS)

    def kill_largest(self) -> int | None:
        """Kills the process that holds the most memory, as the kernel does; the pid that it had on this machine."""
        pids = self.pids()
        largest = max(pids, key=resident, default=None)
        if largest is not None and largest == self.pid:
            self.kill("OOMKilled")
        elif largest is not None:
            os.kill(largest, signal.SIGKILL)
        return largest

    def pids(self) -> list[int]:
        """All processes in it, as this machine numbers them."""
        if self.namespace == os.readlink("/proc/self/ns/pid"):  # noqa: PTH115 - plain process groups
            return [] if self.pid is None else [self.pid]
        return pids_in(self.namespace) if self.namespace else []

    async def run(self, argv: list[str], *, stdin: bool, on_tty: bool) -> Program:
        """Another program in it; CannotStart where there is no such program, or the container has ended."""
        if self.pid is None or self.setup is None:
            raise CannotStart("cannot exec in a stopped container")
        return await run_beside(self.setup, self.pid, argv, stdin=stdin, on_tty=on_tty)

    def status(self) -> dict[str, Any]:
        """Its entry of `containerStatuses`."""
        running = "running" in self.state
        made = {
            "name": self.name,
            "state": self.state,
            "lastState": self.last_state,
            "ready": running,
            "restartCount": self.restarts,
            "image": self.spec["image"],
            "imageID": "" if "waiting" in self.state else f"{self.spec['image']}@sha256:{'0' * 64}",
            "started": running,
        }
        return made if "waiting" in self.state else made | {"containerID": self.id}
