"""How far the history of one channel is handled, for those whose message must come after one of it."""

from __future__ import annotations

import asyncio
from typing import Final

_END: Final = 1 << 64
"""Greater than any id of a message (https://discord.com/developers/docs/reference#snowflakes)."""


class HistoryProgress:
    """The messages up to the id ``position`` are handled."""

    def __init__(self, position: int) -> None:
        self._position = position
        self._waiting: dict[int, asyncio.Event] = {}

    def reach(self, message_id: int) -> None:
        """All messages up to this one are handled."""
        self._position = max(self._position, message_id)
        for awaited in [one for one in self._waiting if one <= self._position]:
            self._waiting.pop(awaited).set()

    def end(self) -> None:
        """Nothing more is read."""
        self.reach(_END)

    def is_past(self, message_id: int = _END) -> bool:
        """Whether this message is handled; without an id: whether the history is read to its end."""
        return message_id <= self._position

    async def past(self, message_id: int = _END) -> None:
        """Return once :meth:`is_past` holds, also where the history does not have this message."""
        if not self.is_past(message_id):
            await self._waiting.setdefault(message_id, asyncio.Event()).wait()
