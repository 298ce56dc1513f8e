"""What the daemon measures of itself: how late its event loop runs, and how much memory it holds."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from pathlib import Path
from typing import Final

INTERVAL_SECONDS: Final = 0.5
WINDOW_SECONDS: Final = 10.0


def rss_bytes() -> int | None:
    """This process's resident memory; ``None`` where /proc does not tell. Source: proc_pid_statm(5)."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


class LoopLag:
    """How late the running event loop calls what is due: a timer every ``interval`` seconds, its delay kept.

    Start and stop belong to the loop's thread.
    """

    def __init__(self, *, interval: float = INTERVAL_SECONDS, window: float = WINDOW_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval = interval
        self._lags: deque[float] = deque(maxlen=max(1, round(window / interval)))
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure."""
        self.stop()
        self._schedule()

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def milliseconds(self) -> float:
        """The worst delay of the last ten seconds (``window``), one that still lasts included."""
        overdue = self._loop.time() - self._due if self._timer is not None else 0.0
        return max(0.0, overdue, *self._lags) * 1000

    def _schedule(self) -> None:
        self._due = self._loop.time() + self._interval
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self._lags.append(self._loop.time() - self._due)
        self._schedule()
