"""Limits that the kernel does not hold, because there is no cgroup for each session: acpbot looks at each sample.

Also whether the kernel has ended a process because memory was short. Source: memory.events in the kernel's
admin-guide/cgroup-v2, /proc/PID/smaps_rollup and oom_kill of /proc/vmstat in proc(5).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.runtimes.local.cgroup import Unavailable, own_directory
from acpbot.runtimes.local.procfs import read_file
from acpbot.text import size_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acpbot.runtimes.local.procfs import Stat
    from acpbot.runtimes.runtime import Usage

OUT_OF_MEMORY: Final = "out of memory: the machine or the container in which it ran had none left"


class Limits(NamedTuple):
    """What a session may use, as far as looks are to hold it: bytes of memory, and processes."""

    memory_max: int | None = None
    pids_max: int | None = None

    def exceeded(self, usage: Usage) -> str | None:
        """Return the limit that is exceeded, by a first count; shared memory counts in each process there."""
        if self.memory_max is not None and usage.rss_bytes is not None and usage.rss_bytes > self.memory_max:
            return "memory_max"
        if self.pids_max is not None and usage.processes is not None and usage.processes > self.pids_max:
            return "pids_max"
        return None

    def words(self, limit: str) -> str:
        """Return what people read of an agent that has exceeded this limit."""
        if limit == "memory_max" and self.memory_max is not None:
            return f"out of memory: it and its tools took more than {size_words(self.memory_max)}"
        return f"it and its tools were more than {self.pids_max} processes"


def memory_of(stats: Iterable[Stat]) -> int:
    """Return the bytes of these processes, memory that they share counted once; blocks."""
    return sum(_proportional(stat) for stat in stats)


def _proportional(stat: Stat) -> int:
    for line in (read_file(f"/proc/{stat.pid}/smaps_rollup") or b"").splitlines():
        name, _, value = line.partition(b":")
        if name == b"Pss":
            return int(value.split()[0]) * 1024
    return stat.rss_bytes  # it has ended, or it is another user's


class OomKills:
    """How often the kernel has killed a process for want of memory, around this process."""

    def __init__(self, file: Path | None = None) -> None:
        """``file``: where the count is; unset, that of this process's cgroup, else that of the machine."""
        self._file = str(_counts() if file is None else file)
        self._last = 0

    def count(self) -> int:
        """Return the count; the last one where it can't be read now, as without a free descriptor."""
        try:
            text = read_file(self._file) or b""
        except OSError:
            return self._last
        for line in text.splitlines():
            name, _, value = line.partition(b" ")
            if name == b"oom_kill":
                self._last = int(value)
        return self._last


def _counts() -> Path:
    try:
        file = own_directory() / "memory.events"
    except (Unavailable, OSError):
        return Path("/proc/vmstat")
    return file if file.exists() else Path("/proc/vmstat")
