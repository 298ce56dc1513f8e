"""Draining: no new turns of people's, and those that were accepted come to their end.

An operator may ask for it and take it back; before the daemon ends it is the last thing that happens.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from acpbot.errors import Conflict
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.readiness import State
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

REFUSED: Final = "cannot run this message: acpbot is draining and its deadline has passed; send it again in a while"


class Drain:
    """Drains a pool. All methods belong to the event loop's thread. ``over`` is called where turns are taken again."""

    def __init__(self, pool: Pool, over: Callable[[], None] = lambda: None) -> None:
        self._pool = pool
        self._over = over
        self._deadline: asyncio.TimerHandle | None = None
        self._final = False

    @property
    def state(self) -> State:
        """``running``, ``draining`` or ``stopping``."""
        if self._pool.stopping:
            return "stopping"
        return "draining" if self._pool.draining else "running"

    async def drain(self, *, on: bool, deadline_seconds: float | None) -> State:
        """Begin, or take new turns again; the state after it. Raises Conflict where the daemon is about to end.

        ``deadline_seconds`` from now, turns that still run are cancelled, and those that are queued end with an error;
        ``None`` leaves a deadline that was set before as it is.
        """
        if not on:
            self._end()
        elif not self._pool.stopping:
            self._begin(deadline_seconds)
        return self.state

    def begin_last(self) -> None:
        """Drain for good: this can't be taken back."""
        self._final = self._pool.draining = True

    async def finish(self, seconds: float) -> None:
        """Wait until no turn is left, or ``seconds`` are over, or the pool is forced to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._pool.quiet()
        self._forget_deadline()

    def _begin(self, deadline_seconds: float | None) -> None:
        self._pool.draining = True
        log.info("drain_begun", deadline_seconds=deadline_seconds)
        if deadline_seconds is not None:
            self._forget_deadline()
            self._deadline = asyncio.get_running_loop().call_later(deadline_seconds, self._expire)

    def _end(self) -> None:
        if self._final:
            raise Conflict("cannot take new turns again: acpbot is stopping; start it anew once it has ended")
        self._forget_deadline()
        if self._pool.draining:
            self._pool.draining = False
            log.info("drain_ended")
            self._over()

    def _expire(self) -> None:
        self._deadline = None
        counts = self._pool.counts()
        running = counts.busy + counts.waiting + counts.stuck
        log.warning("drain_deadline", running=running, queued=counts.queued)
        self._pool.end_turns(REFUSED)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
