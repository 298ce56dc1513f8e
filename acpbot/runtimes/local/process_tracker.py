"""Looks at the processes of all sessions. One look over /proc answers for all; `attribution` says whose they are.

Children of ours that have ended and that nobody else reaps are reaped here, each by its pid: ``waitpid(-1)`` would take
the exit codes of children that others wait for.

All looking is done in one thread, the tracker's own, and there is no lock: what other threads change while a look runs
is single assignments and single operations on a dict or set. So the event loop never waits for a look.

A look needs descriptors. A few are held in reserve for the time when all others are in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import itertools
import os
import signal
import time
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from acpbot.aio import Threads
from acpbot.errors import AgentError
from acpbot.logs import get_logger
from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.attribution import Attribution, Scan, TrackedSession, in_groups
from acpbot.runtimes.local.procfs import ProcessKey
from acpbot.runtimes.runtime import ProcessInfo, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from acpbot.runtimes.local.cgroup import Cgroup
    from acpbot.runtimes.local.procfs import Identity, Stat
    from acpbot.runtimes.local.spawner import Child

log = get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_FOREIGN_ZOMBIE_SECONDS: Final = 1.0
_NEWEST_SECONDS: Final = 0.02
_NEWEST_PIDS: Final = 32
_RESERVED: Final = 8
_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})


class ProcessTracker:
    """Tracks the processes of all sessions of one launcher.

    ``owns_children`` says that this process starts no children but agents: then children that nobody else reaps are
    reaped here, and processes that outlive the sessions that they may belong to are killed when they are seen.
    ``server`` gives the pid of the spawn server. The constructor raises `RuntimeError` where no thread can be started;
    every later use has its thread.
    """

    def __init__(
        self, identity: Identity, *, owns_children: bool = False, server: Callable[[], int | None] = lambda: None
    ) -> None:
        self.identity = identity
        self.strays: tuple[ProcessKey, ...] = ()
        """The processes of no known session that the last look has found."""
        self._owns_children = owns_children
        self._server = server
        self._sessions: dict[str, TrackedSession] = {}
        self._attribution = Attribution(identity, claims=owns_children)
        self._zombies_since: dict[ProcessKey, float] = {}
        self._closed = False
        self._next: asyncio.Future[Scan] | None = None
        self._reserve: list[int] = []
        self._fill_reserve()
        self._thread = Threads("process-tracker", 1)
        self._thread.submit(int)  # starts the thread

    def close(self) -> None:
        """Let the thread end. Later looks raise `AgentError`."""
        self._closed = True
        self._thread.shutdown(wait=False)
        self._free_reserve()

    # What starts and ends sessions calls these; they return at once, whatever the tracker's thread does.

    def register(self, session_id: str) -> TrackedSession:
        """Begin a session. Raises `ValueError` where the session_id is in use."""
        if session_id in self._sessions:
            raise ValueError(f"cannot register session {session_id}: it is already registered")
        session = self._sessions[session_id] = TrackedSession(session_id)
        return session

    @staticmethod
    def started(session: TrackedSession, child: Child) -> None:
        """Note the session's leader and supervisor. Raises `OSError`.

        The agent may have killed its supervisor by now. Then no process has this key, and the session is bereft.
        """
        leader, supervisor = procfs.read_stat(child.pid), procfs.read_stat(child.supervisor)
        session.control = child.control
        session.leader = None if leader is None else leader.key
        session.supervisor = ProcessKey(child.supervisor, 0) if supervisor is None else supervisor.key

    def unregister(self, session: TrackedSession) -> None:
        """Forget a session of which nothing is left, and let its supervisor go."""
        session.closed = True
        if session.supervisor is not None:
            self._attribution.leaving.add(session.supervisor)
        session.release()
        self._sessions.pop(session.session_id, None)

    # What looks.

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` in the tracker's thread. Raises what it raises, and `AgentError` after `close`."""
        try:
            future = self._thread.submit(self._with_reserve, functools.partial(work, *args, **kwargs))
        except RuntimeError as error:
            way_out = "the daemon is stopping" if self._closed else "raise the limit of processes (TasksMax=, pids.max)"
            raise AgentError(f"cannot look at the agents' processes: {error}; {way_out}") from error
        return await asyncio.wrap_future(future)

    async def scan(self) -> Scan:
        """Take a look that begins after this call; calls made at the same time share one. Raises `OSError`."""
        scan = self._next
        if scan is None:
            scan = self._next = asyncio.ensure_future(self.run(self._scan))
            scan.add_done_callback(self._scan_ended)
        return await asyncio.shield(scan)

    def _scan_ended(self, scan: asyncio.Future[Scan]) -> None:
        """A look that could not even begin must not be the next one too."""
        if self._next is scan:
            self._next = None

    async def sample(self, session_ids: Iterable[str]) -> dict[str, Usage]:
        """Return what each of these sessions uses, from one look. Raises `OSError`."""
        return await self.run(self._sample, tuple(session_ids))

    async def kill_fork_storm(self, session: TrackedSession, until: float, killed: set[ProcessKey]) -> None:
        """Kill each process of the session as soon as it is seen, until no new one is seen; add them to ``killed``.

        For processes that fork faster than a look and then a kill can follow: every pid that the kernel assigns is
        read at once, besides looks over all. ``until`` is a `time.monotonic` time. Raises `OSError`.
        """
        before = -1
        while len(killed) > before and time.monotonic() < until:
            before = len(killed)
            await self.run(self._kill_newest, session, until, killed)

    async def kill_cgroup(self, session: TrackedSession) -> bool:
        """Let the kernel kill everything in the session's cgroup at once; ``False`` where that is not possible.

        It is not where others are inside: whoever may write cgroups can put this process there. Raises `OSError`.
        """
        return session.cgroup is not None and await self.run(self._kill_cgroup, session, session.cgroup)

    async def describe(self, stats: Iterable[Stat]) -> list[ProcessInfo]:
        """Return what people are shown of these processes, in their order. Raises `OSError`."""
        return await self.run(_describe, tuple(stats))

    # In the tracker's thread.

    def _with_reserve(self, work: Callable[[], T]) -> T:
        """Do the work, and do it again with the reserved descriptors where there was none left for it."""
        try:
            return work()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR or not self._reserve:
                raise
            log.warning("descriptors_used_up", reason=error.strerror)
        self._free_reserve()
        try:
            return work()
        finally:
            self._fill_reserve()

    def _free_reserve(self) -> None:
        while self._reserve:
            os.close(self._reserve.pop())

    def _fill_reserve(self) -> None:
        while len(self._reserve) < _RESERVED:
            try:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                log.warning("descriptors_not_reserved", reason=error.strerror)
                return

    def _sample(self, session_ids: Iterable[str]) -> dict[str, Usage]:
        scan = self._scan()
        for stat, claimed_by in scan.strays if self._owns_children else ():
            session_id, daemon = procfs.read_markers(stat.pid)
            outlived = daemon == self.identity and session_id not in self._sessions
            if outlived or (claimed_by and all(session.closed for session in claimed_by)):
                log.warning("stray_process_ended", pid=stat.pid, command=procfs.command_of(stat))
                _kill(stat.key)
        usage = {}
        for session_id in session_ids:
            rss_bytes, cpu_seconds = 0, 0.0
            stats = scan.living.get(session_id, [])
            for stat in stats:
                rss_bytes += stat.rss_bytes
                cpu_seconds += stat.cpu_seconds + stat.reaped_cpu_seconds
            session = self._sessions.get(session_id)
            counted = None if session is None or session.cgroup is None else session.cgroup.cpu_seconds()
            usage[session_id] = Usage(len(stats), rss_bytes, cpu_seconds if counted is None else counted)
        return usage

    def _scan(self) -> Scan:
        """Look at every process, attribute it, remember it, and reap it where it has ended."""
        self._next = None  # calls of `scan` from now on get the next look
        scan = Scan(procfs.now_ticks())
        sessions = tuple(self._sessions.values())
        starting = any(session.supervisor is None for session in sessions)
        table: dict[int, Stat] = {}
        for stat in procfs.newest_first():
            table[stat.pid] = stat
        # A supervisor of which we don't know yet is below the spawn server, too: of a session that begins meanwhile.
        starting = starting or sessions != tuple(self._sessions.values())
        self._attribution.fill(scan, table, sessions, self._server(), starting=starting)
        self.strays = tuple(stat.key for stat, _ in scan.strays)
        self._reap(scan.ended)
        return scan

    def _reap(self, ended: list[tuple[Stat, TrackedSession | None]]) -> None:
        since = {}
        now = time.monotonic()
        us = os.getpid()
        asked = set()
        for stat, owner in ended:
            if stat.ppid != us:
                asked.add(owner)
                continue
            if owner is None:
                # Another part of this process that did start a child gets time to fetch its exit code.
                since[stat.key] = self._zombies_since.get(stat.key, now)
                if not self._owns_children or now - since[stat.key] < _FOREIGN_ZOMBIE_SECONDS:
                    continue
            _reap_child(stat.pid)
        for session in filter(None, asked):
            session.reap_zombies()
        self._zombies_since = since

    def _kill_cgroup(self, session: TrackedSession, cgroup: Cgroup) -> bool:
        others = {os.getpid(), self._server()}
        for other in tuple(self._sessions.values()):
            others.update(pid for pid, _ in filter(None, [other.supervisor]))
            if other is not session:
                others.update(other.known)
        if others.isdisjoint(cgroup.members()):
            return cgroup.kill()
        log.warning("cgroup_holds_others", path=str(cgroup.path))
        return False

    def _kill_newest(self, session: TrackedSession, until: float, killed: set[ProcessKey]) -> None:
        leader = session.leader
        spared: set[tuple[int, int]] = set()
        for other in tuple(self._sessions.values()):
            if other is not session:
                spared.update(other.known.items(), filter(None, [other.leader]))
            spared.update(filter(None, [other.supervisor]))
        for stat in itertools.chain(
            procfs.newest_first(), _newest_until(min(until, time.monotonic() + _NEWEST_SECONDS))
        ):
            if stat.ended:
                if stat.ppid == os.getpid() and stat.key != leader and in_groups(session, stat):
                    _reap_child(stat.pid)
            elif stat.key in killed or stat.key in spared or not self._belongs_to(session, stat):
                continue
            elif _kill(stat.key):
                killed.add(stat.key)
                session.known[stat.pid] = stat.start_time
        session.reap_zombies()

    def _belongs_to(self, session: TrackedSession, stat: Stat) -> bool:
        if session.known.get(stat.pid) == stat.start_time:
            return True
        if stat.ppid in session.known and procfs.same_process(procfs.ProcessKey(stat.ppid, session.known[stat.ppid])):
            # A storm uses up all pids within seconds: the parent's start time has to be compared.
            return True
        if stat.ppid == os.getpid() and in_groups(session, stat):
            return True
        if session.supervisor is not None and stat.ppid == session.supervisor.pid:
            return procfs.same_process(session.supervisor)
        return procfs.read_markers(stat.pid) == (session.session_id, self.identity)


def _newest_until(until: float) -> Iterator[Stat]:
    """Yield each process right after it starts, the newest first."""
    newest = procfs.newest_pid()
    while time.monotonic() < until:
        last, newest = newest, procfs.newest_pid()
        first = max(last + 1, newest - _NEWEST_PIDS) if last <= newest else newest  # pids have begun anew
        for pid in range(newest, first - 1, -1):
            stat = procfs.read_stat(pid)
            if stat is not None:
                yield stat


def _reap_child(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # the part of this process that started it has reaped it
        os.waitpid(pid, os.WNOHANG)


def _kill(key: ProcessKey) -> bool:
    """Send SIGKILL to exactly this process; ``False`` where it is gone or another user's. Raises `OSError`."""
    pidfd = procfs.signal_process(key, signal.SIGKILL)
    if pidfd is None:
        return False
    os.close(pidfd)
    return True


def _describe(stats: Iterable[Stat]) -> list[ProcessInfo]:
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return [process_info(stat, now) for stat in stats]


def process_info(stat: Stat, now: float, *, is_main: bool = False) -> ProcessInfo:
    """Return what is shown of a process. ``now``: seconds since boot (CLOCK_BOOTTIME)."""
    return ProcessInfo(
        pid=stat.pid,
        ppid=stat.ppid,
        start_time=stat.start_time,
        pgid=stat.pgid,
        sid=stat.sid,
        state=stat.state,
        command=procfs.command_of(stat),
        rss_bytes=stat.rss_bytes,
        cpu_seconds=stat.cpu_seconds,
        age_seconds=max(0.0, now - stat.start_time / procfs.TICKS_PER_SECOND),
        is_main=is_main,
    )
