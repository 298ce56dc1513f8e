"""How far people's messages were read, over restarts too: none is taken twice, and none is passed over.

Ids of messages tell their time (Discord, 'Snowflakes'), so that one number says up to which all were dealt with. It
stays ten seconds behind, since channels are not told in one order; which of the later ones were dealt with is kept too.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from acpbot.chat.discord.channels import PLATFORM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from acpbot.storage.store import Store

BEHIND_SECONDS: Final = 10.0
OLDEST_SECONDS: Final = 86_400.0
"""A message is not answered any more when it has waited for longer than a day."""

_STEP_SECONDS: Final = 5.0
_EPOCH_MS: Final = 1_420_070_400_000


def snowflake(seconds: float) -> int:
    """The smallest id of that time (Unix time)."""
    return max(0, int(seconds * 1000 - _EPOCH_MS)) << 22


def _ids(seconds: float) -> int:
    """How far two ids are apart that are so many seconds apart."""
    return int(seconds * 1000) << 22


class ReadCursor:
    """Which messages were dealt with. ``wall``: Unix time."""

    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._seen = store.restored.seen.get(PLATFORM, set())
        self._mark = store.restored.read_up_to.get(PLATFORM)
        self._newest = self._mark or 0
        self._arriving: set[int] = set()
        self._open: set[int] = set()
        self._held: set[int] = set()
        self._behind: set[int] = set()

    def fall_behind(self, places: Iterable[int]) -> int:
        """In these places (ids of servers) messages may have been missed: those after the id that is given.

        Until :meth:`caught_up` was called for each, what is read elsewhere says nothing of them, and which messages
        were dealt with is not forgotten. What came before the first start is not read.
        """
        if self._mark is None:
            self._write(snowflake(self._wall()))
        self._behind.update(places)
        return max(self._mark or 0, snowflake(self._wall() - OLDEST_SECONDS))

    def caught_up(self, place: int) -> None:
        """What was missed there was found, and dealt with."""
        self._behind.discard(place)
        self._advance()

    def saw(self, message_id: int) -> None:
        """A message, whosever, is there."""
        self._newest = max(self._newest, message_id)
        self._advance()

    @contextlib.contextmanager
    def arriving(self, message_id: int) -> Iterator[None]:
        """A message is there that has to wait before it can be looked at; :meth:`begin` comes within."""
        self._arriving.add(message_id)
        try:
            yield
        finally:
            self._arriving.discard(message_id)

    def begin(self, message_id: int) -> bool:
        """Whether this message is to be taken; then :meth:`end` or :meth:`hold` must follow."""
        if message_id in self._seen or message_id in self._open:
            return False
        self._held.discard(message_id)
        self._open.add(message_id)
        return True

    def end(self, message_id: int, *, taken: bool) -> None:
        """It was dealt with; ``taken``: with an effect that must not come again."""
        self._open.discard(message_id)
        self._held.discard(message_id)
        if taken:
            self._seen.add(message_id)
            self._store.message_seen(PLATFORM, message_id)
        self.saw(message_id)

    def hold(self, message_id: int) -> None:
        """It can't be taken now: it is to be found again."""
        self._open.discard(message_id)
        self._held.add(message_id)

    def gone(self, message_id: int) -> None:
        """Somebody has deleted it: it can't be found again."""
        self._held.discard(message_id)

    def _advance(self) -> None:
        if self._mark is None:
            return
        waiting = (*self._arriving, *self._open, *self._held)
        mark = self._mark if self._behind else min((self._newest - _ids(BEHIND_SECONDS), *(one - 1 for one in waiting)))
        # What is that old is not answered any more, so that a server that stays away holds nothing up for good.
        mark = max(mark, self._newest - _ids(OLDEST_SECONDS))
        if mark - self._mark >= _ids(_STEP_SECONDS):
            self._write(mark)

    def _write(self, mark: int) -> None:
        self._mark = mark
        self._seen = {message_id for message_id in self._seen if message_id > mark}
        self._store.read_up_to(PLATFORM, mark)
