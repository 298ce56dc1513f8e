"""What the daemon measures of itself: how late its event loop runs, and how much memory it uses."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from pathlib import Path
from typing import Final

INTERVAL_SECONDS: Final = 0.5
WINDOW_SECONDS: Final = 10.0


def rss_bytes() -> int | None:
    """This process's resident memory; ``None`` where /proc does not say. Source: proc_pid_statm(5)."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


class LoopLag:
    """Measures how late the running event loop calls a timer of ``interval`` seconds, until :meth:`stop`.

    All methods belong to the loop's thread.
    """

    def __init__(self, *, interval: float = INTERVAL_SECONDS, window: float = WINDOW_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval = interval
        self._lags: deque[float] = deque(maxlen=max(1, round(window / interval)))
        self._due = self._loop.time() + interval
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._due, self._tick)

    def stop(self) -> None:
        """End the measurement."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def milliseconds(self) -> float:
        """The worst delay of the last ``window`` seconds, including one that still lasts."""
        overdue = self._loop.time() - self._due if self._timer is not None else 0.0
        return max(0.0, overdue, *self._lags) * 1000

    def _tick(self) -> None:
        now = self._loop.time()
        self._lags.append(now - self._due)
        self._due = now + self._interval
        self._timer = self._loop.call_at(self._due, self._tick)
