"""An agent that is a process of this machine: its pipes, its exit, and kills with a proof.

A kill is SIGKILL in rounds, until two looks in a row find nothing. One look is not enough: a process may fork and exit
while the look runs. It is not in that look's list then; its child is in the next one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.errors import AgentGone
from acpbot.logs import get_logger
from acpbot.runtimes.local import procfs
from acpbot.runtimes.pipes import PipeReader, PipeWriter, StderrRing
from acpbot.runtimes.runtime import KillReport, exit_text

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable
    from typing import IO, Never

    from acpbot.runtimes.local.cgroup import Cgroup
    from acpbot.runtimes.local.process_tracker import ProcessTracker, TrackedSession
    from acpbot.runtimes.local.procfs import ProcessKey
    from acpbot.runtimes.runtime import LimitNotHeld, ProcessIdentity, ProcessInfo, StdoutSink

log = get_logger(__name__)

_STORM_AFTER_ROUNDS: Final = 2
_STORM_SECONDS: Final = 0.25
_EXIT_SECONDS: Final = 0.05
_PAUSE_SECONDS: Final = 0.01
_LAST_TRY_SECONDS: Final = 1.0
_CGROUP_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.005
_EXIT_CODE_LOST: Final = 255


class Spawned(NamedTuple):
    """A child as the spawning thread returns it. ``pidfd`` becomes readable once the child has ended."""

    popen: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    pidfd: int
    identity: ProcessIdentity | None
    limits_not_held: tuple[LimitNotHeld, ...]


class LocalProcess:
    """An `acpbot.runtimes.runtime.AgentProcess` in a Unix session of its own.

    A leader that has ended is not reaped at once: as a zombie it keeps its pid, group and session number from being
    given to others, so that no signal reaches another process while the rest is being ended. `kill_container` reaps it
    once nothing is left, and so does `aclose`.
    """

    def __init__(self, spawned: Spawned, stdout: StdoutSink, session: TrackedSession, tracker: ProcessTracker) -> None:
        loop = asyncio.get_running_loop()
        self.session_id = session.session_id
        self.pid: int | None = spawned.popen.pid
        self.identity = spawned.identity
        self.limits_not_held = spawned.limits_not_held
        self.stderr = StderrRing()
        self.alive = True
        self.returncode: int | None = None
        self.closed = False
        self._loop = loop
        self._popen = spawned.popen
        self._pidfd = spawned.pidfd
        self._session = session
        self._tracker = tracker
        self._exited = asyncio.Event()
        self._reaped = False
        self._stdin = PipeWriter(loop, spawned.stdin)
        self._stdout = PipeReader(loop, spawned.stdout, stdout.data_received, stdout.eof)
        self._stderr = PipeReader(loop, spawned.stderr, self.stderr.feed)
        self.write: Callable[[bytes], None] = self._stdin.write
        self.close_stdin = self._stdin.close
        self.pause_reading = self._stdout.pause
        self.resume_reading = self._stdout.resume
        loop.add_reader(spawned.pidfd, self._on_exit)

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
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, signum: int) -> None:
        if self._reaped:  # until then no other group can get the number
            return
        try:
            os.killpg(self._popen.pid, signum)
        except ProcessLookupError:
            return  # it is empty, which is what the caller wants
        except PermissionError:
            log.warning("group_not_signalled", pid=self._popen.pid, reason="it runs as another user")

    async def look(self) -> list[ProcessInfo]:
        """Take a fresh look; calls made at the same time share one."""
        scan = await self._tracker.scan()
        return await self._tracker.describe(scan.living.get(self.session_id, []))

    async def kill_container(self, deadline_seconds: float = 5.0) -> KillReport:
        """Kill everything; reap the leader once nothing is left. Where descriptors run out, the pipes' are used."""
        try:
            report = await kill_session(self._tracker, self._session, deadline_seconds)
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
            log.warning("kill_needs_descriptors", session=self.session_id, reason=error.strerror)
            self._close_pipes()
            report = await kill_session(self._tracker, self._session, deadline_seconds)
        if report.proven:
            self._on_exit()
            self._reaped = self._reaped or self._tracker.reap_leader(self._session, self._popen)
        return report

    async def aclose(self) -> None:
        """Kill what is left and release everything."""
        if self.closed:
            return
        try:
            if not self._reaped:
                await self.kill_container(_LAST_TRY_SECONDS)
        finally:
            if not self.closed:  # a second call may have been faster
                self.closed = True
                self._reaped = self._reaped or self._tracker.reap_leader(self._session, self._popen)
                self._close_pipes()
                self._loop.remove_reader(self._pidfd)
                os.close(self._pidfd)
                self._tracker.unregister(self._session, None if self._reaped else self._popen)
                self._exited.set()
                if self._session.cgroup is not None:
                    await self._remove(self._session.cgroup)

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

    def _on_exit(self) -> None:
        """Note the leader's exit without reaping it (waitid(2)); what it wrote last is delivered first."""
        if self.returncode is not None or self.closed:
            return
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            log.warning("exit_code_lost", reason="another part of this process has reaped the agent")
            returncode = _EXIT_CODE_LOST
        else:
            if result is None:
                return
            returncode = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        self._loop.remove_reader(self._pidfd)
        try:
            self._stderr.drain()
            self._stdout.drain()
        finally:
            self.alive = False
            self.returncode = returncode
            self.write = self._refuse_to_write
            self._exited.set()


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
        found = scan.living.get(session.session_id, [])
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
        at_once = session.cgroup is not None and await tracker.run(session.cgroup.kill)
        signalled = bool(keys) and await kill_and_wait(tracker, keys, _EXIT_SECONDS)
        if (unseen and not at_once) or rounds > _STORM_AFTER_ROUNDS:
            await tracker.kill_fork_storm(session, min(deadline, time.monotonic() + _STORM_SECONDS), killed)
        elif not signalled:
            await asyncio.sleep(_PAUSE_SECONDS)
    left = await tracker.describe(found) if found else []
    return KillReport(len(killed), tuple(left), clean >= procfs.LOOKS_THAT_PROVE, looks, time.monotonic() - begin)


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
