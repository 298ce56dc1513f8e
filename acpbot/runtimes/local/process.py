"""An agent that is a process of this machine: its pipes, its exit, its end."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.errors import AgentGone
from acpbot.logs import get_logger
from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.kill import end_all
from acpbot.runtimes.local.pipes import MAX_BACKLOG, PipeReader, PipeWriter
from acpbot.runtimes.local.process_tracker import describe
from acpbot.runtimes.runtime import ProcessIdentity, exit_text
from acpbot.runtimes.stderr import StderrRing

if TYPE_CHECKING:
    import subprocess

    from acpbot.runtimes.local.process_tracker import ProcessTracker, TrackedSession
    from acpbot.runtimes.runtime import KillReport, ProcessInfo, StdoutSink

log = get_logger(__name__)

_LAST_TRY_SECONDS: Final = 1.0
_CGROUP_SECONDS: Final = 1.0
_EXIT_CODE_LOST: Final = 255


class Spawned(NamedTuple):
    """A child as the spawning thread hands it over: three pipes, and a pidfd that is readable once it has ended."""

    popen: subprocess.Popen[bytes]
    pidfd: int
    stdin: int
    stdout: int
    stderr: int


class LocalProcess:
    """An `acpbot.runtimes.runtime.AgentProcess` in a Unix session of its own.

    When the leader has ended it is not reaped at once: as a zombie it keeps its pid, group and session number from
    being given to others, so that no signal can go astray while the rest is still being ended. `kill_container`
    reaps it when nothing is left, and `aclose` does.
    """

    def __init__(self, spawned: Spawned, stdout: StdoutSink, claim: TrackedSession, census: ProcessTracker) -> None:
        loop = asyncio.get_running_loop()
        self.session_id = claim.session_id
        self.pid: int | None = spawned.popen.pid
        self.identity = _identity(spawned.popen.pid)
        self.stderr = StderrRing()
        self.limits_not_applied: tuple[str, ...] = ()
        self._loop = loop
        self._leader = spawned.popen.pid
        self._popen = spawned.popen
        self._pidfd = spawned.pidfd
        self._claim = claim
        self._census = census
        self._returncode: int | None = None
        self._exited = asyncio.Event()
        self._reaped = False
        self._closed = False
        self._stdin = PipeWriter(loop, spawned.stdin, max_backlog=MAX_BACKLOG)
        self._stdout = PipeReader(loop, spawned.stdout, stdout.data_received, stdout.eof)
        self._stderr = PipeReader(loop, spawned.stderr, self.stderr.feed, lambda: None)
        loop.add_reader(spawned.pidfd, self._on_exit)

    @property
    def alive(self) -> bool:
        """Whether the leader's exit was not seen yet."""
        return self._returncode is None

    @property
    def returncode(self) -> int | None:
        """The leader's exit code, minus the signal's number where one ended it."""
        return self._returncode

    @property
    def closed(self) -> bool:
        """Whether everything was given back."""
        return self._closed

    @property
    def backlog(self) -> int:
        """Bytes written that the agent has not read yet."""
        return self._stdin.backlog

    def write(self, data: bytes) -> None:
        """Queue ``data`` for stdin. Raises `AgentGone`, `AgentTimeout`."""
        if self._returncode is not None:
            raise AgentGone(
                f"cannot write to the agent: it has ended ({exit_text(self._returncode)}); start a new session"
            )
        self._stdin.write(data)

    def pause_reading(self) -> None:
        """Leave stdout in the pipe."""
        self._stdout.pause()

    def resume_reading(self) -> None:
        """Take stdout again."""
        self._stdout.resume()

    def close_stdin(self, flush_seconds: float = 1.0) -> None:
        """Send EOF after what is queued, at the latest after ``flush_seconds``."""
        self._stdin.close(flush_seconds)

    async def wait(self) -> int:
        """Wait until the leader ends; return its exit code."""
        await self._exited.wait()
        if self._returncode is None:
            raise AgentGone("cannot wait for the agent: its session was closed while SIGKILL could not end it")
        return self._returncode

    def terminate(self) -> None:
        """Send SIGTERM to the leader's group."""
        self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the leader's group."""
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, signum: int) -> None:
        """Signal the leader's group: the unreaped leader keeps the number ours."""
        if self._reaped:
            return
        try:
            os.killpg(self._leader, signum)
        except ProcessLookupError:
            return  # it is empty, which is what the caller wants
        except PermissionError:
            log.warning("group_not_signalled", pid=self._leader, reason="it runs as another user")

    async def look(self) -> list[ProcessInfo]:
        """Take a fresh look, shared with others that are wanted at the time."""
        look = await self._census.scan()
        return await asyncio.to_thread(describe, look.living.get(self.session_id, []))

    def processes(self) -> list[ProcessInfo]:
        """Take a look in this thread."""
        return describe(self._census.look().living.get(self.session_id, []))

    async def kill_container(self, deadline_seconds: float = 5.0) -> KillReport:
        """End everything; reap the leader once nothing is left."""
        report = await end_all(self._census, self._claim, deadline_seconds)
        if report.proven:
            self._on_exit()
            self._reap()
        return report

    async def aclose(self) -> None:
        """End what is left and give everything back."""
        if self._closed:
            return
        try:
            if not self._reaped:
                await self.kill_container(_LAST_TRY_SECONDS)
            if self._claim.cgroup is not None:
                await asyncio.to_thread(self._claim.cgroup.remove, _CGROUP_SECONDS)
        finally:
            self._close()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._reap()
        self._stdin.close()
        self._stdout.close()
        self._stderr.close()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._census.unregister(self._claim, None if self._reaped else self._popen)
        if self._claim.cgroup is not None and not self._claim.cgroup.remove():
            log.warning("cgroup_not_removed", path=str(self._claim.cgroup.path), reason="a process in it did not end")
        self._exited.set()

    def _reap(self) -> None:
        if not self._reaped:
            self._reaped = self._census.reap_leader(self._claim, self._popen)

    def _on_exit(self) -> None:
        """Note the leader's exit without reaping it, what it wrote last being delivered first."""
        if self._returncode is not None or self._closed:
            return
        returncode = exit_code(self._pidfd)
        if returncode is None:
            return
        self._loop.remove_reader(self._pidfd)
        try:
            self._stderr.drain()
            self._stdout.drain()
        finally:
            self._returncode = returncode
            self._exited.set()


def _identity(pid: int) -> ProcessIdentity | None:
    stat = procfs.read_stat(pid)
    return None if stat is None else ProcessIdentity(pid, stat.start_time, procfs.boot_id())


def exit_code(pidfd: int) -> int | None:
    """Return how a child ended, minus the signal's number where one ended it; ``None`` while it runs (waitid(2)).

    The child is left to be reaped.
    """
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        log.warning("exit_code_lost", reason="another part of this process has reaped the agent")
        return _EXIT_CODE_LOST
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
