"""Draining: the daemon takes no new turns from people, and runs those that it has accepted.

An operator may begin and end it; a daemon that stops drains first.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from acpbot.errors import Conflict
from acpbot.logs import get_logger
from acpbot.sessions.ending import CUT_OFF
from acpbot.times import long_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.readiness import DaemonState
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

REFUSED: Final = "I'm restarting, so I didn't run this message. Please send it again in a while."


class Drain:
    """Drains ``pool``. All methods belong to the event loop's thread.

    ``on_ended`` is called when the daemon takes turns again. ``started`` becomes true once the daemon has started.
    """

    def __init__(self, pool: Pool, on_ended: Callable[[], None]) -> None:
        self.started = False
        self._pool = pool
        self._on_ended = on_ended
        self._deadline: asyncio.TimerHandle | None = None
        self._stopping = False

    def state(self) -> DaemonState:
        """The state of the daemon."""
        if not self.started:
            return "starting"
        if self._pool.stopping:
            return "stopping"
        return "draining" if self._pool.draining else "running"

    def drain(self, *, on: bool, deadline_seconds: float | None) -> DaemonState:
        """Begin draining, or take new turns again; returns the state after it. Raises Conflict while the daemon stops.

        ``deadline_seconds`` from now, turns that still run are cancelled, and queued ones end with an error; ``None``
        keeps a deadline that was set before.
        """
        if not on:
            self._end()
        elif not self._pool.stopping:
            self._begin(deadline_seconds)
        return self.state()

    def begin_stop(self) -> None:
        """Begin draining for good."""
        self._stopping = self._pool.draining = True

    async def wait(self, seconds: float) -> None:
        """Wait until no turn is left, or ``seconds`` have passed, or the pool is forced to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._pool.quiet()
        self._cancel_deadline()

    def _begin(self, deadline_seconds: float | None) -> None:
        self._pool.draining = True
        log.info("drain_started", deadline_seconds=deadline_seconds)
        deadline = None if deadline_seconds is None else f"turns are cancelled after {long_duration(deadline_seconds)}"
        self._pool.events.record("drain_started", detail=deadline)
        if deadline_seconds is not None:
            self._cancel_deadline()
            self._deadline = asyncio.get_running_loop().call_later(deadline_seconds, self._end_turns)

    def _end(self) -> None:
        if self._stopping:
            raise Conflict("cannot take new turns again: acpbot is stopping; start it again once it has stopped")
        self._cancel_deadline()
        if self._pool.draining:
            self._pool.draining = False
            log.info("drain_ended")
            self._pool.events.record("drain_ended")
            self._on_ended()

    def _end_turns(self) -> None:
        self._deadline = None
        counts = self._pool.counts()
        running = counts.busy + counts.waiting + counts.stuck
        log.warning("drain_deadline", running=running, queued=counts.queued)
        self._pool.end_turns(REFUSED, CUT_OFF)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
