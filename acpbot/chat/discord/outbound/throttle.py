"""Requests at a pace that stays below Discord's global rate limit.

Source: https://discord.com/developers/docs/topics/rate-limits#global-rate-limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import aiohttp
    import yarl

GLOBAL_LIMIT: Final = 45
"""Requests in a second; Discord allows a bot 50 in all."""

UNANSWERED_SECONDS: Final = 10.0
"""So long a request without an answer may still be on its way to Discord; later it is taken to have arrived."""


class Throttle:
    """Admits ``limit`` requests in any ``per`` seconds: urgent ones first, spare ones last, each kind in order.

    An admitted request may wait further, such as for its own bucket, and it arrives later than it is sent where this
    process, the network or Discord is slow. So it is counted twice: when it is admitted, and then from the moment when
    it is sent until ``per`` seconds after its answer, for Discord has counted it somewhere in between.
    """

    def __init__(self, limit: int = GLOBAL_LIMIT, per: float = 1.0) -> None:
        self._limit = limit
        self._per = per
        self._blocked_until = 0.0
        # Those that are urgent, the others, and those for which nobody waits; before them those that are to be sent.
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque(), deque())
        self._leaving: deque[asyncio.Future[None]] = deque()
        # When each was admitted that has not been sent yet, was sent that is not answered, and was answered.
        self._admitted: deque[float] = deque()
        self._sent: dict[asyncio.Future[None], float] = {}
        self._answered: deque[float] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def admit(self, *, urgent: bool, spare: bool = False) -> None:
        """Return when a request may be made. ``spare``: after all others that wait."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[0 if urgent else 2 if spare else 1].append(future)
        self._admit_next()
        await future

    def block(self, seconds: float) -> None:
        """Admit none and send none for so long."""
        self._blocked_until = max(self._blocked_until, asyncio.get_running_loop().time() + seconds)

    async def leave(self) -> asyncio.Future[None]:
        """Return when a request may be sent; what :meth:`arrived` takes."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving.append(future)
        self._admit_next()
        try:
            await future
        except asyncio.CancelledError:
            self.arrived(future)
            raise
        return future

    def arrived(self, sent: asyncio.Future[None]) -> None:
        """Note that a request is answered, or has failed."""
        if self._sent.pop(sent, None) is not None:
            self._answered.append(asyncio.get_running_loop().time())
            self._admit_next()

    def count(self, config: aiohttp.TraceConfig, counts: Callable[[yarl.URL], bool]) -> None:
        """Have the requests that ``config`` follows wait in :meth:`leave`, those for whose URL ``counts`` is true."""

        async def start(
            _session: aiohttp.ClientSession, context: Any, request: aiohttp.TraceRequestStartParams
        ) -> None:
            context.sent = await self.leave() if counts(request.url) else None

        async def end(_session: aiohttp.ClientSession, context: Any, _request: object) -> None:
            if context.sent is not None:
                self.arrived(context.sent)

        config.on_request_start.append(start)
        config.on_request_end.append(end)
        config.on_request_exception.append(end)

    def _admit_next(self, due: float = 0.0) -> None:
        """``due``: what the timer was set to, which may ring a little earlier."""
        loop = asyncio.get_running_loop()
        now = max(loop.time(), due)
        self._forget(now)
        if now >= self._blocked_until:
            self._send(now)
            self._admit(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._leaving or any(self._waiting):
            due = max(min(self._ends(), default=now), self._blocked_until)
            self._timer = loop.call_at(due, self._admit_next, due)

    def _ends(self) -> Iterator[float]:
        """When the first of each kind no longer counts, by what is known now."""
        for times in (self._admitted, self._answered):
            if times:
                yield times[0] + self._per
        for time in self._sent.values():
            yield time + self._per + UNANSWERED_SECONDS
            break  # they are in the order in which they were sent

    def _forget(self, now: float) -> None:
        for times in (self._admitted, self._answered):
            while times and times[0] + self._per <= now:
                times.popleft()
        for sent, time in list(self._sent.items()):
            if time + self._per + UNANSWERED_SECONDS > now:
                break
            del self._sent[sent]

    def _send(self, now: float) -> None:
        while self._leaving and len(self._sent) + len(self._answered) < self._limit:
            future = self._leaving.popleft()
            if not future.done():
                if self._admitted:
                    self._admitted.popleft()
                self._sent[future] = now
                future.set_result(None)

    def _admit(self, now: float) -> None:
        for waiting in self._waiting:
            while waiting and not self._leaving and self._counted() < self._limit:
                future = waiting.popleft()
                if not future.done():
                    self._admitted.append(now)
                    future.set_result(None)

    def _counted(self) -> int:
        return len(self._admitted) + len(self._sent) + len(self._answered)
