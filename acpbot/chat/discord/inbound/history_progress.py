"""How far the history of one channel is handled, for those whose message must come after one of it."""

from __future__ import annotations

import asyncio
from typing import Final

_END: Final = 1 << 64
"""Greater than any id of a message (https://discord.com/developers/docs/reference#snowflakes)."""


class HistoryProgress:
    """The messages up to the id ``position`` are handled, but for those that were begun and have not ended."""

    def __init__(self, position: int) -> None:
        self._position = position
        self._begun: set[int] = set()
        self._waiting: dict[int, asyncio.Event] = {}

    def begin(self, message_id: int) -> None:
        """This message, the next one of the history, is being handled."""
        self._begun.add(message_id)
        self._position = max(self._position, message_id)

    def finish(self, message_id: int) -> None:
        """This message is handled."""
        self._begun.discard(message_id)
        self._wake()

    def end(self) -> None:
        """Nothing more is read."""
        self._position = _END
        self._wake()

    def give_up(self) -> None:
        """Nobody knows what is handled: let everybody go on."""
        self._begun.clear()
        self.end()

    def _wake(self) -> None:
        for awaited in [one for one in self._waiting if self.is_past(one)]:
            self._waiting.pop(awaited).set()

    def is_past(self, message_id: int = _END) -> bool:
        """Whether this message is handled; without an id: whether the history is read to its end."""
        return message_id <= self._position and message_id not in self._begun

    async def past(self, message_id: int = _END) -> None:
        """Return once :meth:`is_past` holds, also where the history does not have this message."""
        if not self.is_past(message_id):
            await self._waiting.setdefault(message_id, asyncio.Event()).wait()
