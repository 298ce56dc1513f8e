"""Which session each process belongs to: one pass over a process table. Reads /proc only for what the table lacks.

A process belongs to a session when, in this order,

1. it descends from the session's supervisor (see `spawn_server`), from its leader, or from a process that an earlier
   look found there. A process cannot change what it descends from, and the supervisor gets the orphans;
2. it is in the session's cgroup, and descends from no process of ours.

Only a supervisor that somebody has killed (a tool may: it has the same user) loses its orphans. They become children
of this process. Then, and only then, an orphan is attributed by the Unix session or the group that it was seen in, and,
where one supervisor alone is dead, by what a process can change: the marker in its environment, its cgroup. One that
fits nothing is a stray: it may belong to each session whose supervisor is dead, and ends with them. A child of the
spawn server that is no supervisor is a stray too, of any session: a tool that may trace our processes (ptrace(2)) has
made one of them start it.
"""

from __future__ import annotations

import contextlib
import operator
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from acpbot.runtimes import helpers
from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.cgroup import path_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection
    from collections.abc import Set as AbstractSet

    from acpbot.runtimes.local.cgroup import Cgroup
    from acpbot.runtimes.local.procfs import Identity, ProcessKey, Stat

_AGE: Final = operator.attrgetter("start_time", "pid")


@dataclass(eq=False, slots=True)
class TrackedSession:
    """What is known of one session's processes. ``known`` and ``groups`` belong to the tracker's thread."""

    session_id: str
    cgroup: Cgroup | None = None
    closed: bool = False
    leader: ProcessKey | None = None
    """Its supervisor keeps it as a zombie: no other process can get its pid, group or session number."""
    supervisor: ProcessKey | None = None
    control: socket.socket | None = None
    """The connection to the supervisor."""
    known: dict[int, int] = field(default_factory=dict)
    """pid -> start time of every process that was alive at the last look."""
    groups: set[int] = field(default_factory=set)
    """Session and group numbers that they had; forgotten once no process has them any more."""

    def reap_zombies(self) -> None:
        """Ask the supervisor to reap what has ended; never blocks."""
        control = self.control
        if control is not None:
            with contextlib.suppress(OSError):  # it has enough requests, or it is dead and has no zombies
                control.send(b".")

    def release(self) -> None:
        """Let the supervisor go; it reaps the leader."""
        if self.control is not None:
            self.control.close()
            self.control = None


@dataclass(slots=True)
class Scan:
    """What one look found."""

    began: int
    """When the look began, in clock ticks since boot."""
    living: dict[str, list[Stat]] = field(default_factory=dict)
    """session_id -> its living processes, the leader first, then by age."""
    strays: list[tuple[Stat, tuple[TrackedSession, ...]]] = field(default_factory=list)
    """Our living descendants that belong to no session, each with the sessions that may have started it."""
    ended: list[tuple[Stat, TrackedSession | None]] = field(default_factory=list)
    """Children of ours or of supervisors, other than leaders, that had ended, each with its session where known."""

    def of(self, session: TrackedSession) -> list[Stat]:
        """Return the living processes of a session, and the strays that may be its own."""
        living = self.living.get(session.session_id, [])
        return [*living, *(stat for stat, claimed_by in self.strays if session in claimed_by)]

    def ended_unseen(self, session_id: str, since: int, expected: AbstractSet[ProcessKey]) -> bool:
        """Whether a process that may belong to this session has started since then and has already ended.

        A process that forks and exits all the time is never seen alive by a look; its zombies are.
        """
        for stat, owner in self.ended:
            fits = owner is None or owner.session_id == session_id
            if fits and stat.start_time >= since and stat.key not in expected:
                return True
        return False


class Attribution:
    """Attributes the processes of successive looks. ``claims``: whether children of ours may be claimed as strays."""

    def __init__(self, identity: Identity, *, claims: bool) -> None:
        self._identity = identity
        self._claims = claims
        self._claimed: dict[ProcessKey, tuple[TrackedSession, ...]] = {}
        self.leaving: set[ProcessKey] = set()
        """Supervisors that were let go and may not have ended yet."""

    def fill(
        self,
        scan: Scan,
        table: dict[int, Stat],
        sessions: Collection[TrackedSession],
        server: int | None,
        *,
        starting: bool,
    ) -> None:
        """Fill ``scan`` from ``table``, and remember what it shows.

        ``server``: the pid of the spawn server. ``starting``: it may have a supervisor of which nobody knows yet.
        """
        leaving = {pid for pid, _ in tuple(self.leaving)}
        look = _Look(self._identity, table, sessions, leaving | {server} | helpers.PIDS, None if starting else server)
        claimed: dict[ProcessKey, tuple[TrackedSession, ...]] = {}
        for stat in sorted(table.values(), key=_AGE):
            owner = look.owner(stat)
            if stat.ended:
                if (stat.ppid == look.us or stat.ppid in look.supervisors) and stat.key not in look.leaders:
                    scan.ended.append((stat, owner))
            elif owner is not None:
                if stat.key != owner.supervisor:
                    stats = scan.living.setdefault(owner.session_id, [])
                    stats.insert(0 if stat.key == owner.leader else len(stats), stat)
            elif stat.pid in look.strays:
                parent = table[stat.ppid].key if stat.ppid in table else None
                before = self._claimed.get(stat.key) or (claimed.get(parent) if parent is not None else None)
                claimers = sessions if stat.pid in look.injected else look.bereft
                claimed[stat.key] = before or (tuple(claimers) if self._claims else ())
                scan.strays.append((stat, claimed[stat.key]))
        self._claimed = claimed
        for key in tuple(self.leaving):
            if key.pid not in table or table[key.pid].key != key:
                self.leaving.discard(key)
        look.remember()


class _Look:
    """One pass: owners are found from the oldest process to the youngest, each with all on the way up."""

    def __init__(
        self,
        identity: Identity,
        table: dict[int, Stat],
        sessions: Collection[TrackedSession],
        ignored: Collection[int | None],
        server: int | None,
    ) -> None:
        self.us = os.getpid()
        self._identity = identity
        self._table = table
        self._sessions = sessions
        self._ignored = ignored
        self._owners: dict[int, TrackedSession | None] = {}
        self._inside: dict[int, TrackedSession] = {}
        self._below: set[int] = set()
        self._above = {self.us}
        """This process and its ancestors. They are spared: a tool may have put them into its session's cgroup."""
        step = table.get(self.us)
        while step is not None:
            self._above.add(step.pid)
            step = table.get(step.ppid)
        self._server = server
        self.strays: set[int] = set()
        self.injected: set[int] = set()
        """Those of the strays that are children of the spawn server: a tool has traced it, or a supervisor."""
        self.supervisors: set[int] = set()
        self.leaders: set[ProcessKey | None] = set()
        self.bereft: list[TrackedSession] = []
        """Sessions whose supervisor is dead."""
        for session in sessions:
            self._begin(session)

    def _begin(self, session: TrackedSession) -> None:
        for pid, start_time in (*session.known.items(), *filter(None, (session.leader, session.supervisor))):
            if pid in self._table and self._table[pid].start_time == start_time:
                self._owners[pid] = session
        self.leaders.add(session.leader)
        if session.supervisor is not None:
            supervisor = self._table.get(session.supervisor.pid)
            if supervisor is None or supervisor.key != session.supervisor or supervisor.ended:
                self.bereft.append(session)
            else:
                self.supervisors.add(supervisor.pid)
        if session.cgroup is not None:
            self._inside.update(dict.fromkeys(session.cgroup.members(), session))

    def owner(self, stat: Stat) -> TrackedSession | None:
        """Go from a process to its ancestors until one's owner is known; note it for all in between."""
        path = []
        step: Stat | None = stat
        owner: TrackedSession | None = None
        below = stray = False
        while step is not None:
            if step.pid in self._owners:
                owner = self._owners[step.pid]
                below, stray = step.pid in self._below, step.pid in self.strays
                break
            path.append(step.pid)
            if step.ppid == self.us:
                owner, below = self._orphan_owner(step), True
                stray = owner is None and step.pid not in self._ignored
                break
            if step.ppid == self._server and step.pid not in self._ignored:
                below = stray = True
                self.injected.add(step.pid)
                break
            parent = self._table.get(step.ppid)
            # A parent that is younger has got the pid of one that is gone.
            step = parent if parent is not None and parent.start_time <= step.start_time else None
        self._owners.update(dict.fromkeys(path, owner))
        if stray:
            self.strays.update(path)
        if below:
            self._below.update(path)
        elif owner is None and stat.pid not in self._above and (owner := self._inside.get(stat.pid)) is not None:
            self._owners[stat.pid] = owner
        return owner

    def _orphan_owner(self, stat: Stat) -> TrackedSession | None:
        for session in self._sessions:
            if in_groups(session, stat):
                return session
        if len(self.bereft) != 1:  # of several, a tool could choose the session that its process seems to belong to
            return None
        session_id, daemon = procfs.read_markers(stat.pid)
        path = path_of(stat.pid) if stat.ended else ""
        for session in self.bereft:
            if daemon == self._identity and session_id == session.session_id:
                return session
            if self._inside.get(stat.pid) is session or (session.cgroup is not None and session.cgroup.is_path(path)):
                return session
        return None

    def remember(self) -> None:
        """Let each session know the processes that it has now."""
        in_use = set()
        for stat in self._table.values():
            in_use.add(stat.sid)
            in_use.add(stat.pgid)
        for session in self._sessions:
            session.known.clear()
            session.groups &= in_use
        for pid, owner in self._owners.items():
            found = self._table.get(pid)
            if owner is not None and found is not None and found.key != owner.supervisor:
                owner.known[pid] = found.start_time
                owner.groups.add(found.sid)
                owner.groups.add(found.pgid)


def in_groups(session: TrackedSession, stat: Stat) -> bool:
    """Whether a process is in a Unix session or a process group that the session was seen in."""
    return stat.sid in session.groups or stat.pgid in session.groups
