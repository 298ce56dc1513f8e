"""Every process that an agent starts is known and can be ended: what a daemon needs for that.

`choose_launcher` finds out which kind of containment this machine offers; `kill_orphans` ends what a dead daemon left
behind, and is the first thing that a new one does.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.local import cgroup, procfs
from acpbot.runtimes.local.kill import kill_and_wait
from acpbot.runtimes.local.procfs import Identity, ProcessKey

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from acpbot.runtimes.local.procfs import Stat
    from acpbot.runtimes.runtime import ProcessIdentity


_LOOKS_THAT_PROVE: Final = 2
_EXIT_SECONDS: Final = 0.05
_PAUSE_SECONDS: Final = 0.01
_CGROUP_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class OrphanProcess:
    """A process that a dead daemon left. ``session_id`` and ``daemon`` are what its environment says, if it does."""

    pid: int
    start_time: int
    command: str
    session_id: str | None
    daemon: str | None
    ended: bool
    """Whether it is gone; another user's (``sudo``) may not be ours to end."""


def kill_orphans(*, remembered: Iterable[ProcessIdentity] = (), deadline_seconds: float = 5.0) -> list[OrphanProcess]:
    """End the processes that dead daemons left, and remove their cgroups; return what was found. Blocks.

    Found are: processes whose environment names a daemon of our pid namespace that no longer runs (also those that were
    put into a sandbox, a pid namespace below ours), their descendants, what is in such a daemon's cgroups, and
    ``remembered`` ones of this boot, for what had its environment cleaned: the caller vouches that the daemon that
    wrote them down is dead.

    Never touched are processes of a living daemon or of a daemon in another pid namespace, ourselves, our ancestors,
    and a process that was given a leftover's pid.
    """
    own = Identity.own()
    boot_id = procfs.boot_id()
    known = frozenset(ProcessKey(left.pid, left.start_time) for left in remembered if left.boot_id == boot_id)
    found: dict[ProcessKey, OrphanProcess] = {}
    deadline = time.monotonic() + deadline_seconds
    directories = _dead_directories(own)
    spared = _lineage(own.pid)
    clean = 0
    while clean < _LOOKS_THAT_PROVE and time.monotonic() < deadline:
        groups = [group for directory in directories for group in cgroup.sessions_of(directory)]
        stats = _find(own, spared, known, {pid for group in groups for pid in group.members()})
        clean = 0 if stats else clean + 1
        for stat in stats:
            if stat.key not in found:
                session_id, daemon = procfs.read_markers(stat.pid)
                found[stat.key] = OrphanProcess(
                    stat.pid,
                    stat.start_time,
                    procfs.command_of(stat),
                    session_id,
                    str(daemon) if daemon else None,
                    ended=False,
                )
        for group in groups:
            if spared.isdisjoint(group.members()):
                group.kill()
        if stats and not kill_and_wait([stat.key for stat in stats], _EXIT_SECONDS):
            time.sleep(_PAUSE_SECONDS)
    for directory in directories:
        cgroup.Cgroup(directory).remove(_CGROUP_SECONDS)
    return [
        OrphanProcess(
            left.pid, left.start_time, left.command, left.session_id, left.daemon, ended=not procfs.living(key)
        )
        for key, left in found.items()
    ]


def is_of_an_agent(pid: int) -> bool:
    """Whether a process was started by an agent of this very process: as far as that can be seen, now.

    By its cgroup, by its parents, or by the marker in its environment.
    """
    own = Identity.own()
    if pid == own.pid:
        return False
    inside = f"/{cgroup.directory_name(own)}/"
    path = f"{cgroup.path_of(pid)}/"
    if inside in path and not path.partition(inside)[2].startswith("_"):
        return True
    return own.pid in _lineage(pid) or procfs.read_markers(pid)[1] == own


def _dead_directories(own: Identity) -> list[Path]:
    try:
        return cgroup.leftovers(cgroup.find_base(), own)
    except cgroup.Unavailable:
        return []


def _lineage(pid: int) -> set[int]:
    """Return the pid and those of its ancestors."""
    lineage = set()
    stat = procfs.read_stat(pid)
    while stat is not None:
        lineage.add(stat.pid)
        stat = procfs.read_stat(stat.ppid)
    return lineage


def _find(own: Identity, spared: set[int], remembered: frozenset[ProcessKey], inside: set[int]) -> list[Stat]:
    """Return the living processes of dead daemons, as one walk over /proc shows them."""
    table: dict[int, Stat] = {}
    dead: dict[Identity, bool] = {own: False}
    verdicts: dict[int, bool] = {}
    for stat in procfs.newest_first():
        table[stat.pid] = stat
        if stat.pid in spared:
            verdicts[stat.pid] = False
            continue
        if stat.pid in inside or stat.key in remembered:
            verdicts[stat.pid] = True
            continue
        daemon = procfs.read_markers(stat.pid)[1]
        if daemon is not None:
            if daemon not in dead:
                dead[daemon] = daemon.namespace == own.namespace and not daemon.alive
            verdicts[stat.pid] = dead[daemon]
    left = [stat for stat in table.values() if not stat.ended and _is_left(stat, table, verdicts)]
    return sorted(left, key=lambda stat: (stat.start_time, stat.pid))  # parents first: they might start more


def _is_left(stat: Stat, table: dict[int, Stat], verdicts: dict[int, bool]) -> bool:
    step: Stat | None = stat
    while step is not None:
        if step.pid in verdicts:
            return verdicts[step.pid]
        parent = table.get(step.ppid)
        step = parent if parent is not None and parent.start_time <= step.start_time else None
    return False
