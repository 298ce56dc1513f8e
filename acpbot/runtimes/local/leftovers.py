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
    from collections.abc import Iterable
    from pathlib import Path

    from acpbot.runtimes.local.procfs import Stat
    from acpbot.runtimes.runtime import ProcessIdentity

_AGE: Final = operator.attrgetter("start_time", "pid")
_PAUSE_SECONDS: Final = 0.01
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


def kill_orphans(*, remembered: Iterable[ProcessIdentity] = (), deadline_seconds: float = 5.0) -> list[OrphanProcess]:
    """Kill the processes that dead daemons left, and remove their cgroups; return what was found. Blocks.

    Found are: processes whose environment names a daemon of our pid namespace that no longer runs (also those in a
    sandbox, a pid namespace below ours), their descendants, what is in such a daemon's cgroups, and ``remembered``
    processes of this boot, for those whose environment was cleared: the caller must know that the daemon that stored
    them is dead.

    Never touched are processes of a living daemon or of a daemon in another pid namespace, this process, its
    ancestors, and a process that got a leftover's pid.

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


def _kill_orphans(remembered: Iterable[ProcessIdentity], deadline: float) -> list[OrphanProcess]:
    own = Identity.own()
    boot_id = procfs.boot_id()
    known: set[ProcessKey] = set()
    for left in remembered:
        if left.boot_id == boot_id:
            known.add(ProcessKey(left.pid, left.start_time))
    try:
        directories = cgroup.leftovers(cgroup.find_base(), own)
    except cgroup.Unavailable:
        directories = []
    found: dict[ProcessKey, OrphanProcess] = {}
    spared = procfs.with_ancestors(own.pid)
    clean = 0
    while clean < procfs.LOOKS_THAT_PROVE and time.monotonic() < deadline:
        groups, inside = _cgroups_in(directories)
        stats = _find(own, spared, known, inside)
        clean = 0 if stats else clean + 1
        for stat in stats:
            if stat.key not in found:
                found[stat.key] = _orphan(stat)
        if stats:
            _kill(stats, groups, spared)
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


def _orphan(stat: Stat) -> OrphanProcess:
    session_id, daemon = procfs.read_markers(stat.pid)
    command = procfs.command_of(stat)
    return OrphanProcess(stat.pid, stat.start_time, command, session_id, str(daemon) if daemon else None, ended=False)


def _cgroups_in(directories: Iterable[Path]) -> tuple[list[cgroup.Cgroup], set[int]]:
    """Return the sessions' cgroups in daemons' directories, and the pids in them."""
    groups: list[cgroup.Cgroup] = []
    pids: set[int] = set()
    for directory in directories:
        groups += cgroup.sessions_of(directory)
    for group in groups:
        pids.update(group.members())
    return groups, pids


def _find(own: Identity, spared: set[int], remembered: set[ProcessKey], inside: set[int]) -> list[Stat]:
    """Return the living processes of dead daemons, as one look over /proc shows them; parents first."""
    table: dict[int, Stat] = {}
    dead: dict[Identity, bool] = {own: False}
    left: dict[int, bool] = {}
    for stat in procfs.newest_first():
        table[stat.pid] = stat
        if stat.pid in spared:
            left[stat.pid] = False
        elif stat.pid in inside or stat.key in remembered:
            left[stat.pid] = True
        elif (daemon := procfs.read_markers(stat.pid)[1]) is not None:
            if daemon not in dead:
                dead[daemon] = daemon.namespace == own.namespace and not daemon.alive
            left[stat.pid] = dead[daemon]
    return _with_descendants(table, left)


def _with_descendants(table: dict[int, Stat], left: dict[int, bool]) -> list[Stat]:
    """Return the living processes that are left, or whose nearest ancestor in ``left`` is; parents first."""
    found = []
    for stat in sorted(table.values(), key=_AGE):  # parents first: they might start more
        step: Stat | None = stat
        while step is not None and step.pid not in left:
            parent = table.get(step.ppid)
            # A parent that is younger has got the pid of one that is gone.
            step = parent if parent is not None and parent.start_time <= step.start_time else None
        if step is not None and left[step.pid] and not stat.ended:
            found.append(stat)
    return found
