"""The server's time: real, real but faster, or moved by the test alone."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Final

TURNS: Final = 50  # turns of the event loop after a moved clock: enough for a chain of tasks to reach its next wait


def stamp(moment: datetime) -> str:
    """A point in time as `metav1.Time` writes it: RFC 3339 in UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Clock:
    """Real time. `unit` is how many real seconds one of the server's seconds takes; 0.01 makes it 100 times as fast."""

    def __init__(self, unit: float = 1.0) -> None:
        self.unit = unit
        self._began = time.time()

    def now(self) -> datetime:
        """The server's present, which runs ahead of the real one where the unit is below 1."""
        passed = (time.time() - self._began) / self.unit
        return datetime.fromtimestamp(self._began, UTC) + timedelta(seconds=passed)

    async def sleep(self, seconds: float) -> None:
        """Waits `seconds` of the server's time."""
        await asyncio.sleep(seconds * self.unit)


class ManualClock(Clock):
    """Stands still until a test calls `advance`."""

    def __init__(self) -> None:
        super().__init__()
        self._passed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._began, UTC) + timedelta(seconds=self._passed)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._passed + seconds, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Moves the clock on, and wakes in their order those whose time has come."""
        end = self._passed + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            self._passed, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
                await self._settle()
        self._passed = end
        await self._settle()

    @staticmethod
    async def _settle() -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)
