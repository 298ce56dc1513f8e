"""What a daemon that died left running is found and killed: the first thing that a new daemon does."""

from __future__ import annotations

import operator
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from acpbot.errors import StartError
from acpbot.runtimes.local import cgroup, procfs
from acpbot.runtimes.local.procfs import Identity, ProcessKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from acpbot.runtimes.local.procfs import Stat
    from acpbot.runtimes.runtime import PlaceRef

_AGE: Final = operator.attrgetter("start_time", "pid")
_PAUSE_SECONDS: Final = 0.01
_EXEC_SECONDS: Final = 0.5
_EXEC_PAUSE_SECONDS: Final = 0.001
_KERNEL_THREADS: Final = 2  # kthreadd, the parent of all threads of the kernel
_CGROUP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class OrphanProcess:
    """A process that a dead daemon left. ``session_id`` and ``daemon`` are what its environment names, if it does."""

    pid: int
    start_time: int
    command: str
    session_id: str | None
    daemon: str | None
    ended: bool
    """Whether it is gone; another user's (``sudo``) may not be ours to kill."""


def kill_orphans(*, remembered: Iterable[PlaceRef] = (), deadline_seconds: float = 5.0) -> list[OrphanProcess]:
    """Kill the processes that dead daemons left, and remove their cgroups; return what was found. Blocks.

    Found are: processes whose environment names a daemon of our pid namespace that no longer runs (also those in a
    sandbox, a pid namespace below ours), their descendants, what is in such a daemon's cgroups, and ``remembered``
    processes of this boot, for those whose environment was cleared. A supervisor (`spawn_server`) is such a process,
    so what an agent started is found below it. Supervisors are killed last, and are not returned.

    Never touched are a living daemon, what descends from it or names it (also where it is ``remembered``, or in the
    cgroup of a dead one), processes of a daemon in another pid namespace, this process, its ancestors, and a process
    that got a leftover's pid.

    Raises `StartError` where it can't look: what runs on would meet the sessions of the new daemon.
    """
    try:
        return _kill_orphans(remembered, time.monotonic() + deadline_seconds)
    except OSError as error:
        reason = f"{error.filename or 'the processes of this machine'} can't be read: {error.strerror or error}"
        raise StartError(
            f"cannot look for agents that an earlier acpbot left running: {reason}; "
            "mount /proc, or raise the limit of open files (LimitNOFILE=, ulimit -n)"
        ) from error


def _kill_orphans(remembered: Iterable[PlaceRef], deadline: float) -> list[OrphanProcess]:
    own = Identity.own()
    boot_id = procfs.boot_id()
    known: set[ProcessKey] = set()
    for left in remembered:
        if left.get("boot_id") == boot_id:
            known.add(ProcessKey(left["pid"], left["start_time"]))
    try:
        directories = cgroup.leftovers(cgroup.find_base(), own)
    except cgroup.Unavailable:
        directories = []
    found: dict[ProcessKey, OrphanProcess] = {}
    spared = procfs.with_ancestors(own.pid)
    clean = 0
    while clean < procfs.LOOKS_THAT_PROVE and time.monotonic() < deadline:
        groups, inside = _cgroups_in(directories)
        look = _Look(own, spared)
        stats = look.find(own, known, inside)
        clean = 0 if stats else clean + 1
        agents = [stat for stat in stats if stat.pid not in look.helpers]
        for stat in agents:
            if stat.key not in found:
                found[stat.key] = look.orphan(stat)
        if stats:
            _kill(agents or stats, groups, look.spared)
    for directory in directories:
        cgroup.Cgroup(directory).remove(_CGROUP_SECONDS)
    for key, orphan in found.items():
        found[key] = replace(orphan, ended=not procfs.living(key))
    return list(found.values())


def _kill(stats: Iterable[Stat], groups: Iterable[cgroup.Cgroup], spared: set[int]) -> None:
    for group in groups:
        if spared.isdisjoint(group.members()):
            group.kill()
    for pidfd in procfs.send_sigkill([stat.key for stat in stats]):
        os.close(pidfd)
    time.sleep(_PAUSE_SECONDS)


def _cgroups_in(directories: Iterable[Path]) -> tuple[list[cgroup.Cgroup], set[int]]:
    """Return the sessions' cgroups in daemons' directories, and the pids in them."""
    groups: list[cgroup.Cgroup] = []
    pids: set[int] = set()
    for directory in directories:
        groups += cgroup.sessions_of(directory)
    for group in groups:
        pids.update(group.members())
    return groups, pids


class _Look:
    """One look over /proc. ``spared``: pids that are never touched, to begin with this process and its ancestors."""

    def __init__(self, own: Identity, spared: set[int]) -> None:
        self.spared = set(spared)
        self.helpers: set[int] = set()
        """Processes of acpbot itself: their environment names a daemon and no session."""
        self._table: dict[int, Stat] = {}
        self._sessions: dict[int, str | None] = {}
        self._daemons: dict[int, Identity] = {}
        self._dead: dict[Identity, bool] = {own: False}
        for stat in procfs.newest_first():
            self._table[stat.pid] = stat
            if not stat.ended:
                self._read(stat, own)

    def _read(self, stat: Stat, own: Identity) -> None:
        session_id, daemon = _markers(stat)
        if daemon is None:
            return
        if daemon not in self._dead:
            self._dead[daemon] = daemon.namespace == own.namespace and not daemon.alive
        self._daemons[stat.pid] = daemon
        self._sessions[stat.pid] = session_id
        if session_id is None:
            self.helpers.add(stat.pid)
        if not self._dead[daemon]:
            self.spared.add(stat.pid)

    def find(self, own: Identity, remembered: set[ProcessKey], inside: set[int]) -> list[Stat]:
        """Return the living processes of dead daemons; parents first: they might start more."""
        others = {one.pid for one, dead in self._dead.items() if not dead and one.namespace == own.namespace} - {
            own.pid
        }
        others.update(pid for pid, daemon in self._daemons.items() if not self._dead[daemon])
        self.spared |= others
        left: dict[int, bool] = {}
        for stat in self._table.values():
            if stat.pid in self.spared:
                left[stat.pid] = False
            elif stat.pid in self._daemons:
                left[stat.pid] = True
            elif stat.pid in inside or stat.key in remembered:
                # What descends from a living daemon is its own, even where our database names it: that may be a copy.
                left[stat.pid] = others.isdisjoint(_line_of(stat, self._table))
        return _with_descendants(self._table, left)

    def orphan(self, stat: Stat) -> OrphanProcess:
        """Return what is told of a process that is left."""
        daemon = self._daemons.get(stat.pid)
        name = str(daemon) if daemon else None
        command, session_id = procfs.command_of(stat), self._sessions.get(stat.pid)
        return OrphanProcess(stat.pid, stat.start_time, command, session_id, name, ended=False)


def _markers(stat: Stat) -> tuple[str | None, Identity | None]:
    """Return what the environment names; a process that is about to begin another program is waited for."""
    markers = procfs.read_markers(stat.pid)
    until = time.monotonic() + _EXEC_SECONDS
    while markers == (None, None) and not _is_kernels(stat) and procfs.begins_program(stat):
        if time.monotonic() >= until:
            break
        time.sleep(_EXEC_PAUSE_SECONDS)
        markers = procfs.read_markers(stat.pid)
    return markers


def _is_kernels(stat: Stat) -> bool:
    return _KERNEL_THREADS in (stat.pid, stat.ppid)


def _line_of(stat: Stat, table: dict[int, Stat]) -> Iterator[int]:
    """Yield the pids of a process and of its ancestors."""
    step: Stat | None = stat
    while step is not None:
        yield step.pid
        parent = table.get(step.ppid)
        # A parent that is younger has got the pid of one that is gone.
        step = parent if parent is not None and parent.start_time <= step.start_time else None


def _with_descendants(table: dict[int, Stat], left: dict[int, bool]) -> list[Stat]:
    """Return the living processes that are left, or whose nearest ancestor in ``left`` is; parents first."""
    found = []
    for stat in sorted(table.values(), key=_AGE):
        nearest = next(filter(left.__contains__, _line_of(stat, table)), None)
        if nearest is not None and left[nearest] and not stat.ended:
            found.append(stat)
    return found
