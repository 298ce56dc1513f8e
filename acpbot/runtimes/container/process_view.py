"""The processes of a container, where its engine is on this machine: read from /proc, and killed without the engine.

All of them are in the container's process namespace, or in one below it, and the kernel ends them all with the
namespace's first process (pid_namespaces(7)). A descriptor of the namespace is held: until it is closed, no other
namespace can get its number. What blocks is called in a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.process_tracker import process_info
from acpbot.runtimes.runtime import ProcessInfo, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acpbot.runtimes.local.procfs import ProcessKey, Stat

_KILL_PAUSE_SECONDS: Final = 0.005


class ProcessView:
    """The processes of one container. ``init`` is the first of them: the engine's own, and the parent of the agent."""

    def __init__(self, init: ProcessKey, namespace: int) -> None:
        self.init = init
        self._namespace: int | None = namespace
        stat = os.fstat(namespace)
        self.key: Final = stat.st_dev, stat.st_ino

    @classmethod
    def open(cls, pid: int, container_id: str) -> ProcessView | None:
        """Return the view of a container whose first process has this pid, as its engine says.

        ``None`` where it is none of this machine (the cgroup of a container is named by its id), where it has ended, or
        where it can't be read: it may be another user's. Raises `OSError` where /proc can't be read for another reason.
        """
        cgroup = procfs.read_file(f"/proc/{pid}/cgroup")
        stat = procfs.read_stat(pid)
        if not pid or cgroup is None or stat is None or container_id.encode() not in cgroup:
            return None
        try:
            namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            return None
        view = cls(stat.key, namespace)
        if not procfs.same_process(stat.key) or _namespace_of(os.getpid()) == view.key:
            view.close()
            return None
        return view

    def close(self) -> None:
        """Release the namespace."""
        namespace, self._namespace = self._namespace, None
        if namespace is not None:
            os.close(namespace)

    def init_runs(self) -> bool:
        """Whether the first process runs, and with it the container. Raises `OSError`."""
        return procfs.living(self.init)

    def begun(self) -> tuple[bool, int | None]:
        """Whether the init process has become the agent's program in its child, and that child's pid."""
        stats = self.living()
        if not stats:
            return False, None
        try:
            programs = [os.readlink(f"/proc/{pid}/exe") for pid in (self.init.pid, stats[0].pid)]  # noqa: PTH115 - as above
        except OSError:
            return False, stats[0].pid
        return programs[0] != programs[1], stats[0].pid

    def kill(self, until: float) -> bool:
        """Send SIGKILL to the first process, with which the kernel ends all others; wait until none is seen.

        ``until`` is a `time.monotonic` time. Returns whether two looks in a row have found none. Raises `OSError`.
        """
        clean = 0
        while clean < procfs.LOOKS_THAT_PROVE:
            pidfd = procfs.signal_process(self.init, signal.SIGKILL)
            if pidfd is not None:
                os.close(pidfd)
            clean = 0 if self.living() else clean + 1
            if not clean:
                if time.monotonic() >= until:
                    return False
                time.sleep(_KILL_PAUSE_SECONDS)
        return True

    def living(self) -> list[Stat]:
        """Return the living processes, the agent first, then by age; without the first process. Raises `OSError`."""
        return living([self])[self]

    def describe(self) -> list[ProcessInfo]:
        """Return what people are shown of the living processes. Raises `OSError`."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        stats = self.living()
        # The kernel ends all others with the first process, and that ends with the agent.
        return [process_info(stat, now, is_main=stat.pgid == stats[0].pgid) for stat in stats]


def living(views: Iterable[ProcessView]) -> dict[ProcessView, list[Stat]]:
    """Return the living processes of each of these containers, from one look at all processes. Raises `OSError`."""
    found: dict[ProcessView, list[Stat]] = {view: [] for view in views}
    by_namespace = {view.key: view for view in found}
    owners: dict[int, ProcessView | None] = {}
    table = {stat.pid: stat for stat in procfs.newest_first()}
    for stat in sorted(table.values(), key=lambda stat: (stat.start_time, stat.pid)):
        # What is in a namespace below, such as the agent's own sandbox, descends from what is in this one.
        key = _namespace_of(stat.pid)
        view = None if key is None else by_namespace.get(key)
        view = view or owners.get(stat.ppid)
        owners[stat.pid] = view
        if view is not None and not stat.ended and stat.key != view.init:
            found[view].append(stat)
    return found


def usage(stats: Iterable[Stat]) -> Usage:
    """Return what these processes use."""
    count, rss_bytes, cpu_seconds = 0, 0, 0.0
    for stat in stats:
        count += 1
        rss_bytes += stat.rss_bytes
        cpu_seconds += stat.cpu_seconds + stat.reaped_cpu_seconds
    return Usage(count, rss_bytes, cpu_seconds)


def _namespace_of(pid: int) -> tuple[int, int] | None:
    """Return what identifies a process's process namespace, ``None`` where it is gone or not ours to read."""
    with contextlib.suppress(PermissionError, FileNotFoundError, ProcessLookupError):
        stat = os.stat(f"/proc/{pid}/ns/pid")  # noqa: PTH116 - a Path per process would double the cost
        return stat.st_dev, stat.st_ino
    return None
