"""Finds out which session each process belongs to. One look over /proc answers for all sessions.

A process belongs to a session when, in this order,

1. the session's cgroup lists it (where there are cgroups),
2. an earlier look found it there: every (pid, start time) ever seen is remembered while the process lives,
3. it descends from one that belongs, by parent pid,
4. it is an orphan that became our child (`launcher.hold_subreaper`) and its environment names the session,
5. it is such an orphan, in a Unix session or process group that a process of the session was seen in.

Only this escapes: a process that gets a clean environment (``env -i``) *and* a session of its own *and* loses its
parent, all between two looks. Without a cgroup it then belongs to no session. It still is our child: `Scan.unowned`
lists it, and a launcher that owns this process's children ends it when the daemon stops.

Orphans that end as our children are reaped here, each by its pid: ``waitpid(-1)`` would take the exit codes of
children that others wait for.

All looking is done in one thread, the tracker's own, and there is no lock: what other threads change while a look runs
is single assignments and single operations on a dict or set. So the event loop never waits for a look.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import operator
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from acpbot.aio import Threads
from acpbot.errors import AgentError
from acpbot.logs import SeldomLogger, get_logger
from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.cgroup import directory_name, path_of
from acpbot.runtimes.runtime import ProcessInfo, Usage

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from acpbot.runtimes.local.cgroup import Cgroup
    from acpbot.runtimes.local.procfs import Identity, ProcessKey, Stat

log = get_logger(__name__)
_seldom_log: Final = SeldomLogger(log)

P = ParamSpec("P")
T = TypeVar("T")

_FOREIGN_ZOMBIE_SECONDS: Final = 1.0
_NEWEST_SECONDS: Final = 0.02
_NEWEST_PIDS: Final = 32
_AGE: Final = operator.attrgetter("start_time", "pid")
_LEADER: Final = operator.attrgetter("leader")
_STARTING: Final = operator.attrgetter("starting")


@dataclass(eq=False, slots=True)
class TrackedSession:
    """What is known of one session's processes. ``known`` and ``groups`` belong to the tracker's thread."""

    session_id: str
    cgroup: Cgroup | None = None
    starting: bool = True
    """Until `ProcessTracker.started`, its leader can't be distinguished from an orphan."""
    closed: bool = False
    leader: ProcessKey | None = None
    """Reaped by its owner alone: until then no other process can get its pid, group or session number."""
    known: dict[int, int] = field(default_factory=dict)
    """pid -> start time of every process that was alive at the last look."""
    groups: set[int] = field(default_factory=set)
    """Session and group numbers that they had; forgotten once no process has them any more."""


@dataclass(slots=True)
class Scan:
    """What one look found."""

    began: int
    """When the look began, in clock ticks since boot."""
    living: dict[str, list[Stat]] = field(default_factory=dict)
    """session_id -> its living processes, the leader first, then by age."""
    unowned: list[Stat] = field(default_factory=list)
    """Our living children that belong to no session and are no agent."""
    abandoned: list[Stat] = field(default_factory=list)
    """Those of ``unowned`` whose environment names a session of ours that has been closed."""
    ended: list[tuple[Stat, TrackedSession | None]] = field(default_factory=list)
    """Our children, other than leaders, that had ended, each with its session where that is known."""

    def ended_unseen(self, session_id: str, since: int, expected: AbstractSet[ProcessKey]) -> bool:
        """Whether a process that may belong to this session has started since then and has already ended.

        A process that forks and exits all the time is never seen alive by a look; its zombies are.
        """
        for stat, owner in self.ended:
            fits = owner is None or owner.session_id == session_id
            if fits and stat.start_time >= since and stat.key not in expected:
                return True
        return False


class ProcessTracker:
    """Tracks the processes of all sessions of one launcher.

    ``owns_children`` says that this process starts no children but agents: then children that nobody else reaps are
    reaped here, and processes that outlive their session are killed when they are seen. The constructor raises
    `RuntimeError` where no thread can be started; every later use has its thread.
    """

    def __init__(self, identity: Identity, *, owns_children: bool = False) -> None:
        self.identity = identity
        self._owns_children = owns_children
        self._sessions: dict[str, TrackedSession] = {}
        self._unreaped: set[subprocess.Popen[bytes]] = set()
        self._zombies_since: dict[ProcessKey, float] = {}
        self._next: asyncio.Future[Scan] | None = None
        self._thread = Threads("process-tracker", 1)
        self._thread.submit(int)  # starts the thread

    def close(self) -> None:
        """Let the thread end. Later looks raise `AgentError`."""
        self._thread.shutdown(wait=False)

    # What starts and ends sessions calls these; they return at once, whatever the tracker's thread does.

    def register(self, session_id: str) -> TrackedSession:
        """Begin a session. Raises `ValueError` where the session_id is in use."""
        if session_id in self._sessions:
            raise ValueError(f"cannot register session {session_id}: it is there already")
        session = self._sessions[session_id] = TrackedSession(session_id)
        return session

    def started(self, session: TrackedSession, pid: int) -> None:
        """Note the session's leader, a child of ours that nobody has reaped yet. Raises `OSError`."""
        stat = procfs.read_stat(pid)
        session.leader = None if stat is None else stat.key
        session.starting = False  # last: a look reads this first

    def unregister(self, session: TrackedSession, unreaped: subprocess.Popen[bytes] | None = None) -> None:
        """Forget a session. ``unreaped``: a leader that could not be ended; it is reaped once it ends."""
        session.closed = True
        self._sessions.pop(session.session_id, None)
        if unreaped is not None:
            self._unreaped.add(unreaped)

    @staticmethod
    def reap_leader(session: TrackedSession, popen: subprocess.Popen[bytes]) -> bool:
        """Reap a leader that has ended; from then on its pid, group and session number may mean others."""
        if popen.poll() is None:
            return False
        session.leader = None
        return True

    # What looks.

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``work`` in the tracker's thread. Raises what it raises, and `AgentError` after `close`."""
        try:
            future = self._thread.submit(work, *args, **kwargs)
        except RuntimeError as error:
            raise AgentError(f"cannot look at the agents' processes: {error}; the daemon is stopping") from error
        return await asyncio.wrap_future(future)

    async def scan(self) -> Scan:
        """Take a look that begins after this call; calls made at the same time share one. Raises `OSError`."""
        scan = self._next
        if scan is None:
            scan = self._next = asyncio.ensure_future(self.run(self._scan))
        return await asyncio.shield(scan)

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

    async def describe(self, stats: Iterable[Stat]) -> list[ProcessInfo]:
        """Return what people are shown of these processes, in their order. Raises `OSError`."""
        return await self.run(_describe, tuple(stats))

    # In the tracker's thread.

    def _sample(self, session_ids: Iterable[str]) -> dict[str, Usage]:
        scan = self._scan()
        if self._owns_children:
            for stat in scan.abandoned:
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
        starting = set(filter(_STARTING, sessions))  # first: see `started`
        leaders = set(map(_LEADER, sessions))
        table: dict[int, Stat] = {}
        for stat in procfs.newest_first():
            table[stat.pid] = stat
        owners = _certain_owners(sessions, table)
        us = os.getpid()
        for stat in sorted(table.values(), key=_AGE):
            owner = self._owner(stat, table, owners, sessions)
            if stat.ended:
                if stat.ppid == us and stat.key not in leaders:
                    scan.ended.append((stat, owner))
            elif owner is not None:
                stats = scan.living.setdefault(owner.session_id, [])
                stats.insert(0 if stat.key == owner.leader else len(stats), stat)
            elif stat.ppid == us:
                scan.unowned.append(stat)
                session_id, daemon = procfs.read_markers(stat.pid)
                if daemon == self.identity and session_id not in self._sessions:
                    scan.abandoned.append(stat)
        _remember(sessions, table, owners)
        self._reap(scan.ended, starting)
        return scan

    def _owner(
        self,
        stat: Stat,
        table: dict[int, Stat],
        owners: dict[int, TrackedSession | None],
        sessions: Iterable[TrackedSession],
    ) -> TrackedSession | None:
        """Go from a process to its ancestors until one's owner is known; note it for all in between."""
        us = os.getpid()
        path = []
        step: Stat | None = stat
        owner: TrackedSession | None = None
        while step is not None and step.pid != us:
            if step.pid in owners:
                owner = owners[step.pid]
                break
            path.append(step.pid)
            if step.ppid == us:
                owner = self._orphan_owner(step, sessions)
                break
            parent = table.get(step.ppid)
            # A parent that is younger has got the pid of one that is gone.
            step = parent if parent is not None and parent.start_time <= step.start_time else None
        owners.update(dict.fromkeys(path, owner))
        return owner

    def _orphan_owner(self, stat: Stat, sessions: Iterable[TrackedSession]) -> TrackedSession | None:
        session_id, daemon = procfs.read_markers(stat.pid)
        named = daemon == self.identity and session_id is not None
        path = path_of(stat.pid) if stat.ended and not named else ""
        for session in sessions:
            if named:
                if session.session_id == session_id:
                    return session
            elif _in_groups(session, stat) or (session.cgroup is not None and session.cgroup.is_path(path)):
                return session
        return None

    def _reap(self, ended: list[tuple[Stat, TrackedSession | None]], starting: set[TrackedSession]) -> None:
        for popen in tuple(self._unreaped):
            if popen.poll() is not None:
                self._unreaped.discard(popen)
        since = {}
        now = time.monotonic()
        for stat, owner in ended:
            if owner is None:
                # Another part of this process that did start a child gets time to fetch its exit code.
                since[stat.key] = self._zombies_since.get(stat.key, now)
                if starting or not self._owns_children or now - since[stat.key] < _FOREIGN_ZOMBIE_SECONDS:
                    continue
            elif owner in starting:
                continue  # it may be the leader: its exit code is its owner's
            _reap_child(stat.pid)
        self._zombies_since = since

    def _kill_newest(self, session: TrackedSession, until: float, killed: set[ProcessKey]) -> None:
        leader = session.leader
        spared: set[tuple[int, int]] = set()
        for other in tuple(self._sessions.values()):
            if other is not session:
                spared.update(other.known.items(), filter(None, [other.leader]))
        for stat in itertools.chain(
            procfs.newest_first(), _newest_until(min(until, time.monotonic() + _NEWEST_SECONDS))
        ):
            if stat.ended:
                if stat.ppid == os.getpid() and stat.key != leader and _in_groups(session, stat):
                    _reap_child(stat.pid)
            elif stat.key in killed or stat.key in spared or not self._belongs_to(session, stat):
                continue
            elif _kill(stat.key):
                killed.add(stat.key)
                session.known[stat.pid] = stat.start_time

    def _belongs_to(self, session: TrackedSession, stat: Stat) -> bool:
        if session.known.get(stat.pid) == stat.start_time:
            return True
        if stat.ppid in session.known and procfs.same_process(procfs.ProcessKey(stat.ppid, session.known[stat.ppid])):
            # A storm uses up all pids within seconds: the parent's start time has to be compared.
            return True
        if stat.ppid == os.getpid() and _in_groups(session, stat):
            return True
        return procfs.read_markers(stat.pid) == (session.session_id, self.identity)


def _certain_owners(sessions: Iterable[TrackedSession], table: dict[int, Stat]) -> dict[int, TrackedSession | None]:
    owners: dict[int, TrackedSession | None] = {}
    for session in sessions:
        for pid, start_time in (*session.known.items(), *filter(None, [session.leader])):
            if pid in table and table[pid].start_time == start_time:
                owners[pid] = session
    for session in sessions:
        if session.cgroup is not None:
            owners.update(dict.fromkeys(session.cgroup.members(), session))
    return owners


def _remember(
    sessions: Iterable[TrackedSession], table: dict[int, Stat], owners: dict[int, TrackedSession | None]
) -> None:
    in_use = set()
    for stat in table.values():
        in_use.add(stat.sid)
        in_use.add(stat.pgid)
    for session in sessions:
        session.known.clear()
        session.groups &= in_use
    for pid, owner in owners.items():
        found = table.get(pid)
        if owner is not None and found is not None:
            owner.known[pid] = found.start_time
            owner.groups.add(found.sid)
            owner.groups.add(found.pgid)


def _in_groups(session: TrackedSession, stat: Stat) -> bool:
    return stat.sid in session.groups or stat.pgid in session.groups


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
    infos = []
    for stat in stats:
        info = ProcessInfo(
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
        )
        infos.append(info)
    return infos


def is_of_an_agent(pid: int) -> bool:
    """Whether an agent of this process started process ``pid``, as far as that can be seen now.

    By its cgroup, by its ancestors, or by the marker in its environment. Where it can't look, it says yes.
    """
    try:
        own = procfs.Identity.own()
        if pid == own.pid:
            return False
        inside = f"/{directory_name(own)}/"
        path = f"{path_of(pid)}/"
        if inside in path and not path.partition(inside)[2].startswith("_"):
            return True
        return own.pid in procfs.with_ancestors(pid) or procfs.read_markers(pid)[1] == own
    except OSError as error:
        _seldom_log.warning("peer_not_examined", pid=pid, reason=error.strerror)
        return True
