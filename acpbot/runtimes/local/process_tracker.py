"""Whose is each process? One walk over /proc answers for all sessions.

A process belongs to a session when, in this order,

1. the session's cgroup lists it (where there are cgroups),
2. an earlier look found it there: every (pid, start time) ever seen is remembered while it lives,
3. it descends from one that belongs, by parent pid,
4. it is an orphan that became our child (`acpbot.runtimes.local.subreaper`) and its environment names the session,
5. it is such an orphan, in a Unix session or process group that a process of the session was seen in.

What escapes: a process that gets a clean environment (``env -i``) *and* a session of its own *and* loses its parent,
all between two looks. Without a cgroup it then belongs to nobody. It still is our child: `strays` lists it, and a
launcher that owns this process's children ends it when the daemon stops.

Orphans that end as our children are reaped here, each by its pid: ``waitpid(-1)`` would steal the exit codes of
children that others wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.cgroup import path_of
from acpbot.runtimes.runtime import ProcessInfo, Usage

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from acpbot.runtimes.local.cgroup import Cgroup
    from acpbot.runtimes.local.procfs import Identity, ProcessKey, Stat

_FOREIGN_ZOMBIE_SECONDS: Final = 1.0
_TAIL_SECONDS: Final = 0.02
_TAIL_PIDS: Final = 32


@dataclass(eq=False, slots=True)
class TrackedSession:
    """What is known of one session's processes; changed by the census only."""

    session_id: str
    cgroup: Cgroup | None = None
    starting: bool = True
    """Until `ProcessTracker.started` its leader can't be told from an orphan."""
    leader: ProcessKey | None = None
    """Reaped by its owner alone: until then no other process can get its pid, group or session number."""
    known: dict[int, int] = field(default_factory=dict)
    """pid -> start time of all that were alive at the last look."""
    groups: set[int] = field(default_factory=set)
    """Session and group numbers in which they were; forgotten once no process has them any more."""


@dataclass(slots=True)
class Scan:
    """What one walk found; what is living or a stray is no zombie."""

    living: dict[str, list[Stat]]
    """session_id -> its processes, the leader first, then by age."""
    strays: list[Stat]
    """Children of ours that belong to no session and are no agent."""
    abandoned: list[Stat]
    """Those among them whose environment names a session of ours that has been closed."""
    ended: list[tuple[Stat, TrackedSession | None]]
    """Children of ours, other than leaders, that had ended, and whose they were, if that is known."""
    began: int
    """When the walk began, in clock ticks since boot."""

    def signs_of(self, session_id: str, since: int, expected: AbstractSet[ProcessKey]) -> bool:
        """Whether something was born since then, ended, and may come from this session.

        A process that forks and exits all the time is never caught alive by a walk; its dead are.
        """
        return any(
            stat.start_time >= since and stat.key not in expected and (owner is None or owner.session_id == session_id)
            for stat, owner in self.ended
        )


class ProcessTracker:
    """Keeps the claims of all sessions of one launcher. Every method may be called in any thread.

    ``owns_children`` says that this process starts no children but agents: then children that nobody else reaps are
    reaped here, and processes that outlive their session are ended when they are seen.
    """

    def __init__(self, identity: Identity, *, owns_children: bool = False) -> None:
        self.identity = identity
        self.owns_children = owns_children
        self._lock: Final = threading.Lock()
        self._claims: dict[str, TrackedSession] = {}
        self._unreaped: list[subprocess.Popen[bytes]] = []
        self._zombies_since: dict[ProcessKey, float] = {}
        self._turn: Final = asyncio.Lock()
        self._next: asyncio.Task[Scan] | None = None

    def register(self, session_id: str, cgroup: Cgroup | None = None) -> TrackedSession:
        """Begin a session. Raises `ValueError` for one that is there."""
        with self._lock:
            if session_id in self._claims:
                raise ValueError(f"cannot register session {session_id}: it is there already")
            claim = self._claims[session_id] = TrackedSession(session_id, cgroup)
            return claim

    def started(self, claim: TrackedSession, pid: int) -> None:
        """Note the session's leader, a child of ours that nobody has reaped yet."""
        stat = procfs.read_stat(pid)
        with self._lock:
            claim.leader = stat.key if stat is not None else None
            claim.starting = False

    def unregister(self, claim: TrackedSession, unreaped: subprocess.Popen[bytes] | None = None) -> None:
        """Forget a session; a leader that could not be ended yet is reaped when it does end."""
        with self._lock:
            self._claims.pop(claim.session_id, None)
            if unreaped is not None:
                self._unreaped.append(unreaped)

    def reap_leader(self, claim: TrackedSession, popen: subprocess.Popen[bytes]) -> bool:
        """Reap a leader that has ended; from then on its pid, group and session number may mean others."""
        with self._lock:
            if popen.poll() is None:
                return False
            claim.leader = None
            return True

    def look(self) -> Scan:
        """Walk over /proc, attribute every process, remember, and reap what ended."""
        with self._lock:
            began = procfs.now_ticks()
            table = {stat.pid: stat for stat in procfs.newest_first()}
            return self._attribute(table, began)

    async def scan(self) -> Scan:
        """Take a look that begins after this call, off the event loop; calls at the same time share one."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_in_turn())
        return await asyncio.shield(self._next)

    async def _look_in_turn(self) -> Scan:
        async with self._turn:
            self._next = None  # whoever asks from here on gets the next look
            return await asyncio.to_thread(self.look)

    def sample(self, session_ids: Iterable[str]) -> dict[str, Usage]:
        """Return what each of these sessions uses, from one look."""
        look = self.look()
        if self.owns_children:
            for stat in look.abandoned:
                end_now(stat.key)
        usage = {}
        for session_id in session_ids:
            stats = look.living.get(session_id, [])
            claim = self._claims.get(session_id)
            cpu = claim.cgroup.cpu_seconds() if claim is not None and claim.cgroup is not None else None
            if cpu is None:
                cpu = sum(stat.cpu_seconds_with_reaped for stat in stats)
            usage[session_id] = Usage(len(stats), sum(stat.rss_bytes for stat in stats), cpu)
        return usage

    def kill_fork_storm(self, claim: TrackedSession, until: float) -> set[ProcessKey]:
        """End the session's processes in the moment in which each is seen, until none is seen any more.

        For what forks faster than a look and then a kill can follow: each pid that the kernel hands out is looked at
        once it is there, besides walks over all. SIGKILL is as quick as SIGSTOP in ending a fork storm, and final.
        ``until`` is a `time.monotonic` time.
        """
        hunted: set[ProcessKey] = set()
        quiet = False
        while not quiet and time.monotonic() < until:
            before = len(hunted)
            with self._lock:
                spared = {key for other in self._claims.values() if other is not claim for key in other.known.items()}
                spared |= {other.leader for other in self._claims.values() if other.leader and other is not claim}
                slice_end = min(until, time.monotonic() + _TAIL_SECONDS)
                for stat in itertools.chain(procfs.newest_first(), _just_born(slice_end)):
                    self._hunt_one(claim, stat, spared, hunted)
            quiet = len(hunted) == before
        return hunted

    def _hunt_one(
        self, claim: TrackedSession, stat: Stat, spared: AbstractSet[tuple[int, int]], hunted: set[ProcessKey]
    ) -> None:
        if stat.ended:
            if stat.ppid == os.getpid() and stat.key != claim.leader and self._in_groups(claim, stat):
                _reap_child(stat.pid)
        elif stat.key not in hunted and stat.key not in spared and self._belongs_to(claim, stat) and end_now(stat.key):
            hunted.add(stat.key)
            claim.known[stat.pid] = stat.start_time

    def _belongs_to(self, claim: TrackedSession, stat: Stat) -> bool:
        if claim.known.get(stat.pid) == stat.start_time:
            return True
        if stat.ppid in claim.known and procfs.same_process(procfs.ProcessKey(stat.ppid, claim.known[stat.ppid])):
            # A storm goes through all pids within seconds: the parent's had to be compared.
            return True
        if stat.ppid == os.getpid() and self._in_groups(claim, stat):
            return True
        return procfs.read_markers(stat.pid) == (claim.session_id, self.identity)

    @staticmethod
    def _in_groups(claim: TrackedSession, stat: Stat) -> bool:
        return stat.sid in claim.groups or stat.pgid in claim.groups

    def _attribute(self, table: dict[int, Stat], began: int) -> Scan:
        us = os.getpid()
        owners = self._certain(table)
        leaders = {claim.leader for claim in self._claims.values()}
        look = Scan({session_id: [] for session_id in self._claims}, [], [], [], began)
        for stat in sorted(table.values(), key=lambda stat: (stat.start_time, stat.pid)):
            owner = self._owner(stat, table, owners)
            if stat.ended:
                if stat.ppid == us and stat.key not in leaders:
                    look.ended.append((stat, owner))
            elif owner is not None:
                stats = look.living[owner.session_id]
                stats.insert(0 if stat.key == owner.leader else len(stats), stat)
            elif stat.ppid == us:
                look.strays.append(stat)
                if self._is_abandoned(stat):
                    look.abandoned.append(stat)
        self._remember(table, owners)
        self._reap(look.ended)
        return look

    def _owner(
        self, stat: Stat, table: dict[int, Stat], owners: dict[int, TrackedSession | None]
    ) -> TrackedSession | None:
        """Climb from a process to one whose owner is known, and note that for all in between."""
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
                owner = self._orphan_owner(step, self._claims)
                break
            parent = table.get(step.ppid)
            # A "parent" that is younger got the pid of the real one while the walk went on.
            step = parent if parent is not None and parent.start_time <= step.start_time else None
        owners.update(dict.fromkeys(path, owner))
        return owner

    def _certain(self, table: dict[int, Stat]) -> dict[int, TrackedSession | None]:
        owners: dict[int, TrackedSession | None] = {}
        for claim in self._claims.values():
            for pid, start_time in claim.known.items():
                if pid in table and table[pid].start_time == start_time:
                    owners[pid] = claim
            if claim.leader is not None:
                owners[claim.leader.pid] = claim
        for claim in self._claims.values():
            if claim.cgroup is not None:
                owners.update(dict.fromkeys(claim.cgroup.members(), claim))
        return owners

    def _orphan_owner(self, stat: Stat, claims: dict[str, TrackedSession]) -> TrackedSession | None:
        session_id, daemon = procfs.read_markers(stat.pid)
        if daemon == self.identity and session_id is not None:
            return claims.get(session_id)
        path = path_of(stat.pid) if stat.ended else ""
        for claim in claims.values():
            if self._in_groups(claim, stat) or (claim.cgroup is not None and claim.cgroup.is_path(path)):
                return claim
        return None

    def _is_abandoned(self, stat: Stat) -> bool:
        session_id, daemon = procfs.read_markers(stat.pid)
        return daemon == self.identity and session_id not in self._claims

    def _remember(self, table: dict[int, Stat], owners: dict[int, TrackedSession | None]) -> None:
        in_use = {stat.sid for stat in table.values()} | {stat.pgid for stat in table.values()}
        for claim in self._claims.values():
            claim.known.clear()
            claim.groups &= in_use
        for pid, owner in owners.items():
            stat = table.get(pid)
            if owner is not None and stat is not None:
                owner.known[pid] = stat.start_time
                owner.groups.add(stat.sid)
                owner.groups.add(stat.pgid)

    def _reap(self, ended: list[tuple[Stat, TrackedSession | None]]) -> None:
        self._unreaped = [popen for popen in self._unreaped if popen.poll() is None]
        starting = any(claim.starting for claim in self._claims.values())
        since = {}
        now = time.monotonic()
        for stat, owner in ended:
            if owner is None:
                # Another part of this process that did start a child gets time to fetch its exit code.
                since[stat.key] = self._zombies_since.get(stat.key, now)
                if starting or not self.owns_children or now - since[stat.key] < _FOREIGN_ZOMBIE_SECONDS:
                    continue
            elif owner.starting:
                continue  # it may be the leader: its exit code is its owner's
            _reap_child(stat.pid)
        self._zombies_since = since


def _just_born(until: float) -> Iterator[Stat]:
    """Yield each process in the moment in which it is born, the newest first."""
    newest = procfs.newest_pid()
    while time.monotonic() < until:
        last, newest = newest, procfs.newest_pid()
        first = max(last + 1, newest - _TAIL_PIDS) if last <= newest else newest  # pids have begun anew
        for pid in range(newest, first - 1, -1):
            stat = procfs.read_stat(pid)
            if stat is not None:
                yield stat


def _reap_child(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # it was reaped by who started it
        os.waitpid(pid, os.WNOHANG)


def end_now(key: ProcessKey) -> bool:
    """Send SIGKILL to this very process; ``False`` where it is gone or another user's."""
    pidfd = procfs.signal_process(key, signal.SIGKILL)
    if pidfd is None:
        return False
    os.close(pidfd)
    return True


def describe(stats: Iterable[Stat]) -> list[ProcessInfo]:
    """Return what people are shown of these processes, in their order."""
    return [
        ProcessInfo(
            pid=stat.pid,
            ppid=stat.ppid,
            start_time=stat.start_time,
            pgid=stat.pgid,
            sid=stat.sid,
            state=stat.state,
            command=procfs.command_of(stat),
            rss_bytes=stat.rss_bytes,
            cpu_seconds=stat.cpu_seconds,
            age_seconds=stat.age_seconds,
        )
        for stat in stats
    ]
