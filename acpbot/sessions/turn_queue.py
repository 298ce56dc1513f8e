"""The turns of one session that wait: first in, first out, bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from acpbot.errors import TooMany
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from acpbot.sessions.turn import Turn


log = get_logger(__name__)


class TurnQueue:
    """At most ``limit`` turns, the running one left out; one that was taken once already is never refused again."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._turns: deque[Turn] = deque()
        self._more = asyncio.Event()

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[Turn]:
        return iter(tuple(self._turns))

    def put(self, turn: Turn, *, busy: bool) -> int:
        """Queue a turn; how many are before it, with the running one where it is ``busy``. Raises TooMany."""
        before = len(self._turns) + busy
        if before and len(self._turns) >= self._limit and not turn.recovered:
            waiting = (
                "1 message already waits" if len(self._turns) == 1 else f"{len(self._turns)} messages already wait"
            )
            raise TooMany(f"cannot queue: {waiting} in this thread; wait for an answer")
        self._turns.append(turn)
        self._more.set()
        return before

    def put_first(self, turns: Sequence[Turn]) -> None:
        """Queue turns before all others, in their order."""
        self._turns.extendleft(reversed(turns))
        self._more.set()

    def find(self, key: str) -> Turn | None:
        """The turn of that key."""
        return next((turn for turn in self._turns if turn.key == key), None)

    def remove(self, turn: Turn) -> None:
        """Take a turn out."""
        self._turns.remove(turn)

    async def more(self) -> None:
        """Wait until there is a turn that was checked, if it is to be."""
        while not self._turns or self._turns[0].check is not None:
            if self._turns:
                await _check(self._turns[0])
            else:
                self._more.clear()
                await self._more.wait()

    def pop(self) -> Turn:
        """The next turn."""
        return self._turns.popleft()

    def clear(self) -> list[Turn]:
        """Take all turns out, in their order."""
        turns = list(self._turns)
        self._turns.clear()
        return turns


async def _check(turn: Turn) -> None:
    check, turn.check = turn.check, None
    try:
        if check is not None:
            await check()
    except Exception:
        # It runs as it was taken.
        log.exception("turn_check_failed", turn=turn.turn_id)
