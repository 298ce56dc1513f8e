"""Requests at a pace that stays below Discord's global rate limit.

Source: https://discord.com/developers/docs/topics/rate-limits#global-rate-limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

GLOBAL_LIMIT: Final = 45
"""Requests in a second; Discord allows a bot 50 in all."""


class Throttle:
    """Admits ``limit`` requests in any ``per`` seconds: urgent ones first, spare ones last, each kind in order."""

    def __init__(self, limit: int = GLOBAL_LIMIT, per: float = 1.0) -> None:
        self._limit = limit
        self._per = per
        self._admitted: deque[float] = deque()
        self._blocked_until = 0.0
        # Those that are urgent, the others, and those for which nobody waits.
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque(), deque())
        self._timer: asyncio.TimerHandle | None = None

    async def admit(self, *, urgent: bool, spare: bool = False) -> None:
        """Return when a request may be sent. ``spare``: after all others that wait."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[0 if urgent else 2 if spare else 1].append(future)
        self._admit_next()
        await future

    def block(self, seconds: float) -> None:
        """Admit none for so long."""
        self._blocked_until = max(self._blocked_until, asyncio.get_running_loop().time() + seconds)

    def _admit_next(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._admitted and now - self._admitted[0] >= self._per:
            self._admitted.popleft()
        for waiting in self._waiting:
            while waiting and now >= self._blocked_until and len(self._admitted) < self._limit:
                future = waiting.popleft()
                if not future.done():
                    self._admitted.append(now)
                    future.set_result(None)
        if self._timer is None and any(self._waiting):
            free = self._admitted[0] + self._per if len(self._admitted) >= self._limit else now
            self._timer = loop.call_at(max(free, self._blocked_until), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._admit_next()
