"""A set of ids that forgets the first ones: it takes little memory however many messages there are. Pure."""

from __future__ import annotations

from typing import Final

MOST: Final = 10_000


class RecentIds:
    """The ids that were added last, 10,000 at most."""

    def __init__(self) -> None:
        self._ids: dict[int, None] = {}

    def add(self, number: int) -> None:
        """Add an id, as the newest one."""
        self._ids.pop(number, None)
        self._ids[number] = None
        if len(self._ids) > MOST:
            del self._ids[next(iter(self._ids))]

    def discard(self, number: int) -> bool:
        """Take an id out; whether it was there."""
        was_there = number in self._ids
        self._ids.pop(number, None)
        return was_there
