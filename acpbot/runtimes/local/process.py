"""An agent that is a process of this machine: its pipes, its exit, and kills with a proof.

A kill is SIGKILL in rounds, until two looks in a row find nothing. One look is not enough: a process may fork and exit
while the look runs. It is not in that look's list then; its child is in the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.errors import AgentGone
from acpbot.logs import get_logger
from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.far_side import far_side
from acpbot.runtimes.local.limits import OUT_OF_MEMORY, Limits, OomKills, memory_of
from acpbot.runtimes.pipes import PipeReader, PipeWriter, StderrRing
from acpbot.runtimes.runtime import KillReport, exit_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Never

    from acpbot.runtimes.local.attribution import TrackedSession
    from acpbot.runtimes.local.cgroup import Cgroup
    from acpbot.runtimes.local.process_tracker import ProcessTracker
    from acpbot.runtimes.local.procfs import ProcessKey
    from acpbot.runtimes.local.spawner import Child
    from acpbot.runtimes.runtime import LimitNotHeld, PlaceRef, ProcessInfo, Proof, StdoutSink, Usage

log = get_logger(__name__)

_STORM_AFTER_ROUNDS: Final = 2
_STORM_SECONDS: Final = 0.25
_EXIT_SECONDS: Final = 0.05
_PAUSE_SECONDS: Final = 0.01
_LAST_TRY_SECONDS: Final = 1.0
_CGROUP_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.005
_SUPERVISOR_SECONDS: Final = 1.0
_REPORT_BYTES: Final = 64
_EXIT_CODE_LOST: Final = 255


class Spawned(NamedTuple):
    """An agent as the spawning thread returns it."""

    child: Child
    place_ref: PlaceRef | None
    limits_not_held: tuple[LimitNotHeld, ...]
    unseen: str | None
    limits: Limits = Limits()
    oom_kills: OomKills | None = None


class LocalProcess:
    """An `acpbot.runtimes.runtime.AgentProcess` in a Unix session of its own.

    A leader that has ended is not reaped at once: as a zombie it keeps its pid, group and session number from being
    given to others, so that no signal reaches another process while the rest is being ended. `kill_all` lets its
    supervisor reap it once nothing is left. Until then the tracker knows the session, also after `aclose`.
    """

    def __init__(self, spawned: Spawned, stdout: StdoutSink, session: TrackedSession, tracker: ProcessTracker) -> None:
        loop = asyncio.get_running_loop()
        child = spawned.child
        self.session_id = session.session_id
        self.pid: int | None = child.pid
        self.place: str | None = None
        self.place_ref = spawned.place_ref
        self.limits_not_held = spawned.limits_not_held
        self.unseen = spawned.unseen
        self.stderr = StderrRing()
        self.alive = True
        self.returncode: int | None = None
        self.settled = False
        """Whether nothing is left of it, as a look has proved, and nothing is held any more."""
        self._limits = spawned.limits
        self._oom_kills = spawned.oom_kills
        count = 0 if spawned.oom_kills is None else spawned.oom_kills.count()
        self._oom_counts = (count, count)  # at the last two samples: a kill may be seen by one before its report comes
        self._is_killed = False
        self._limit_words: str | None = None
        self._loop = loop
        self._leader = child.pid
        self._control = child.control
        self._pidfd: int | None = None
        self._session = session
        self._tracker = tracker
        self._exited = asyncio.Event()
        self._supervisor_ended = asyncio.Event()
        self._closed = False
        self._stdin = PipeWriter(loop, child.stdin)
        self._stdout = PipeReader(loop, child.stdout, stdout.data_received, stdout.eof)
        self._stderr = PipeReader(loop, child.stderr, self.stderr.feed)
        self.write: Callable[[bytes], None] = self._stdin.write
        self.close_stdin = self._stdin.close
        self.pause_reading = self._stdout.pause
        self.resume_reading = self._stdout.resume
        child.control.setblocking(False)
        loop.add_reader(child.control, self._on_report)

    async def wait(self) -> int:
        """Wait until the leader ends; return its exit code."""
        await self._exited.wait()
        if self.returncode is None:
            raise AgentGone("cannot wait for the agent: its session was closed while SIGKILL could not end it")
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM to the leader's group."""
        self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the leader's group."""
        self._is_killed = True
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, signum: int) -> None:
        if self.settled:  # until then no other group can get the number
            return
        try:
            os.killpg(self._leader, signum)
        except ProcessLookupError:
            return  # it is empty, which is what the caller wants
        except PermissionError:
            log.warning("group_not_signalled", pid=self._leader, reason="it runs as another user")

    @property
    def end_reason(self) -> str | None:
        """Its exit in words."""
        if self.returncode is None:
            return None
        return self._limit_words or exit_text(self.returncode)

    async def hold_limits(self, usage: Usage, oom_count: int) -> None:
        """End it where it uses more than the kernel should let it; ``oom_count``: of `OomKills`. Raises `OSError`."""
        self._oom_counts = (self._oom_counts[1], oom_count)
        limit = self._limits.exceeded(usage)
        if limit is None or self.settled or self._is_killed:
            return
        used = usage.processes
        if limit == "memory_max":
            found = (await self._tracker.scan()).of(self._session)
            used = await self._tracker.run(memory_of, tuple(found))
            if self._limits.memory_max is None or used <= self._limits.memory_max:
                return
        log.warning("limit_exceeded", session=self.session_id, limit=limit, used=used)
        self._limit_words = self._limits.words(limit)
        self._is_killed = True
        await kill_session(self._tracker, self._session, _LAST_TRY_SECONDS)

    async def look(self) -> list[ProcessInfo]:
        """Take a fresh look; calls made at the same time share one."""
        scan = await self._tracker.scan()
        found = await self._tracker.describe(scan.of(self._session))
        for info in found:
            if info.pid == self._leader and self.unseen is None:
                self.unseen = unseen(
                    info.command.split()
                )  # a script can become a program that runs the agent elsewhere
        return self._with_mains(found)

    def _with_mains(self, found: list[ProcessInfo]) -> list[ProcessInfo]:
        """Return them with ``is_main``, the agent first."""
        return [replace(info, is_main=True) if info.pgid == self._leader else info for info in found]

    async def kill_all(self, deadline_seconds: float = 5.0) -> KillReport:
        """Kill everything; let the supervisor reap the leader once nothing is left."""
        self._is_killed = True
        report = await kill_session(self._tracker, self._session, deadline_seconds)
        if report.settled and not self.settled:
            await self._let_supervisor_go()
            self._settle()
        return report if self.unseen is None else replace(report, proof="none")

    async def aclose(self) -> None:
        """Release the pipes, kill what is left, and release everything else once nothing is."""
        if self.settled and self._closed:
            return
        self._close_pipes()
        try:
            if not self.settled:
                await self.kill_all(_LAST_TRY_SECONDS)
        finally:
            self._closed = True
            self._exited.set()
        if self._session.cgroup is not None and self.settled:
            await self._remove(self._session.cgroup)

    async def _let_supervisor_go(self) -> None:
        """Get the exit code, and wait until the supervisor has reaped everything and ended."""
        try:
            async with asyncio.timeout(_SUPERVISOR_SECONDS):
                await self._exited.wait()
                with contextlib.suppress(OSError):  # it has ended already
                    self._control.shutdown(socket.SHUT_WR)
                await self._supervisor_ended.wait()
        except TimeoutError:
            log.warning("supervisor_late", session=self.session_id)
            if self._session.supervisor is not None:
                await kill_and_wait(self._tracker, [self._session.supervisor], _EXIT_SECONDS)

    def _settle(self) -> None:
        if self.settled:
            return
        self.settled = True
        self._on_exit(_EXIT_CODE_LOST)  # nothing happens where the exit code is known
        self._loop.remove_reader(self._control)
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._leader, os.WNOHANG)
        self._tracker.unregister(self._session)

    async def _remove(self, cgroup: Cgroup) -> None:
        deadline = self._loop.time() + _CGROUP_SECONDS
        while not await self._tracker.run(cgroup.remove):
            if self._loop.time() >= deadline:
                log.warning("cgroup_not_removed", path=str(cgroup.path), reason="a process in it did not end")
                return
            await asyncio.sleep(_RETRY_SECONDS)  # just after a kill the kernel may still keep it

    def _close_pipes(self) -> None:
        self._stdin.close(0.0)
        self._stdout.close()
        self._stderr.close()

    def _refuse_to_write(self, _: bytes) -> Never:
        how = "" if self.returncode is None else f" ({exit_text(self.returncode)})"
        raise AgentGone(f"cannot write to the agent: it has ended{how}; start a new session")

    def _on_report(self) -> None:
        """Read the exit code from the supervisor. Where somebody has killed that, the agent is our child now."""
        try:
            report = self._control.recv(_REPORT_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            report = b""
        if report:
            self._on_exit(int(report))
            return
        self._loop.remove_reader(self._control)
        self._supervisor_ended.set()
        if self.returncode is not None:
            return
        log.warning("supervisor_ended", session=self.session_id, pid=self._leader, reason="another process killed it")
        try:
            self._pidfd = os.pidfd_open(self._leader)
        except OSError as error:
            log.warning("exit_code_lost", session=self.session_id, reason=error.strerror)
            self._on_exit(_EXIT_CODE_LOST)
        else:
            self._loop.add_reader(self._pidfd, self._on_child_exit)

    def _on_child_exit(self) -> None:
        """Note the exit of a leader that is our child, without reaping it (waitid(2))."""
        if self._pidfd is None:
            return
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            log.warning("exit_code_lost", session=self.session_id, reason="another part of this process has reaped it")
            code = _EXIT_CODE_LOST
        else:
            if result is None:
                return
            code = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        self._loop.remove_reader(self._pidfd)
        self._on_exit(code)

    def _on_exit(self, returncode: int) -> None:
        """Note the leader's exit; what it wrote last is delivered first."""
        if self.returncode is not None:
            return
        try:
            self._stderr.drain()
            self._stdout.drain()
        finally:
            self.alive = False
            self.returncode = returncode
            if returncode == -signal.SIGKILL and not self._is_killed and self._oom_kills is not None:
                self._limit_words = OUT_OF_MEMORY if self._oom_kills.count() > self._oom_counts[0] else None
            self.write = self._refuse_to_write
            self._exited.set()


def unseen(argv: Sequence[str]) -> str | None:
    """Return why no look can see all of what a command runs, as a clause; ``None`` where a look can."""
    found = far_side(argv)
    return None if found is None or found.visible else f"{found.program} runs it elsewhere"


async def kill_session(tracker: ProcessTracker, session: TrackedSession, deadline_seconds: float) -> KillReport:
    """Kill everything of one session; `KillReport` says what is known afterwards. Raises `OSError` if it can't look.

    The kernel kills a cgroup at once. Otherwise, and for processes that left their cgroup, each one is signalled
    through a pidfd; what still multiplies after two rounds is a fork storm. Kills that run at the same time share their
    looks.
    """
    begin = time.monotonic()
    deadline = begin + deadline_seconds
    since = procfs.now_ticks()
    killed: set[ProcessKey] = set()
    looks = rounds = clean = 0
    while True:
        scan = await tracker.scan()
        looks += 1
        found = scan.of(session)
        unseen = scan.ended_unseen(session.session_id, since, killed)
        since = scan.began
        clean = 0 if found or unseen else clean + 1
        if clean >= procfs.LOOKS_THAT_PROVE or (not clean and time.monotonic() >= deadline):
            break
        if clean:
            continue
        rounds += 1
        keys = [stat.key for stat in found]
        killed.update(keys)
        at_once = await tracker.kill_cgroup(session)
        signalled = bool(keys) and await kill_and_wait(tracker, keys, _EXIT_SECONDS)
        if (unseen and not at_once) or rounds > _STORM_AFTER_ROUNDS:
            await tracker.kill_fork_storm(session, min(deadline, time.monotonic() + _STORM_SECONDS), killed)
        elif not signalled:
            await asyncio.sleep(_PAUSE_SECONDS)
    left = await tracker.describe(found) if found else []
    settled = clean >= procfs.LOOKS_THAT_PROVE
    proof: Proof = "system" if settled or left else "none"  # else there may be processes that no look has caught
    return KillReport(len(killed), tuple(left), settled, proof, looks, time.monotonic() - begin)


async def kill_and_wait(tracker: ProcessTracker, keys: Iterable[ProcessKey], wait_seconds: float) -> bool:
    """Send SIGKILL to exactly these processes, and wait up to ``wait_seconds`` until they have ended.

    ``False`` where none could be signalled: gone already, or another user's. Raises `OSError`.
    """
    pidfds = await tracker.run(procfs.send_sigkill, keys)
    try:
        deadline = asyncio.get_running_loop().time() + wait_seconds
        for pidfd in pidfds:
            await _wait_until_readable(pidfd, deadline)
        return bool(pidfds)
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


async def _wait_until_readable(descriptor: int, deadline: float) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        async with asyncio.timeout_at(deadline):
            await readable.wait()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(descriptor)
