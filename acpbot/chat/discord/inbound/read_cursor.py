"""How far people's messages are read, over restarts too: none is handled twice, and none is skipped.

The id of a message contains its time (https://discord.com/developers/docs/reference#snowflakes), so one id, the
position, says that all messages up to it are handled. The position stays ten seconds behind the newest message, since
events of different channels come in any order; which later messages are handled is stored for each.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from acpbot.chat.discord.access import PLATFORM
from acpbot.chat.discord.discord_time import snowflake
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from acpbot.chat.discord.discord_time import DiscordClock
    from acpbot.storage.store import Store

log = get_logger(__name__)

BEHIND_SECONDS: Final = 10.0
OLDEST_SECONDS: Final = 86_400.0
"""A message that has waited for longer than a day is not answered any more."""

# The difference of two ids whose times are so far apart.
_BEHIND_IDS: Final = int(BEHIND_SECONDS * 1000) << 22
_OLDEST_IDS: Final = int(OLDEST_SECONDS * 1000) << 22
_AHEAD_IDS: Final = 60_000 << 22
"""A position that is later than now by more than this was stored while this machine's clock was wrong."""

_STEP_IDS: Final = 5_000 << 22
"""The position is stored again once it has moved by this."""


class ReadCursor:
    """Which messages are handled. ``now``: Unix time."""

    def __init__(self, store: Store, now: DiscordClock) -> None:
        self._store = store
        self._now = now
        self._handled = store.restored.seen.get(PLATFORM, set())
        self.position = store.restored.read_up_to.get(PLATFORM)
        self._newest = self.position or 0
        self._arriving: set[int] = set()
        self._open: set[int] = set()
        self._deferred: set[int] = set()
        self._behind: set[int] = set()

    async def begin_reading(self) -> None:
        """Messages from now on are to be read, also where this daemon is killed at once: return when that is stored.

        Call it before the first event can come. A daemon that has read before goes on where it was.
        """
        self._begin()
        await self._store.durable()

    def _begin(self) -> None:
        if self.position is None:
            self._move_to(snowflake(self._now()))

    def fall_behind(self, servers: Iterable[int]) -> int:
        """In these servers (ids) messages may have been missed: those after the id that is returned.

        Until :meth:`caught_up` is called for each of them the position stays. Messages from before the first start are
        not read.
        """
        now = self._now()
        self._begin()
        if self._now.is_known and self.position is not None and self.position > snowflake(now) + _AHEAD_IDS:
            log.warning("read_position_in_the_future", position=self.position)
            self._newest = snowflake(now)
            self._move_to(self._newest)
        self._behind.update(servers)
        return max(self.position or 0, snowflake(now - OLDEST_SECONDS))

    def caught_up(self, server: int) -> None:
        """What was missed in this server is handled."""
        self._behind.discard(server)
        self._advance()

    def saw(self, message_id: int) -> None:
        """A message of anybody exists."""
        self._newest = max(self._newest, message_id)
        self._advance()

    @contextlib.contextmanager
    def arriving(self, message_id: int) -> Iterator[None]:
        """A message has come, but has to wait before it can be handled; :meth:`begin` is called within."""
        self._arriving.add(message_id)
        try:
            yield
        finally:
            self._arriving.discard(message_id)

    def begin(self, message_id: int) -> bool:
        """Whether this message is to be handled; then :meth:`end` or :meth:`defer` must follow."""
        if message_id in self._handled or message_id in self._open:
            return False
        self._deferred.discard(message_id)
        self._open.add(message_id)
        return True

    def end(self, message_id: int, *, taken: bool) -> None:
        """It is handled; ``taken``: with an effect that must not come again."""
        self._open.discard(message_id)
        self._deferred.discard(message_id)
        if taken:
            self._handled.add(message_id)
            self._store.message_seen(PLATFORM, message_id)
        self.saw(message_id)

    def defer(self, message_id: int) -> None:
        """It can't be handled now: backfill is to find it again."""
        self._open.discard(message_id)
        if self.position is None or message_id > self.position:  # else backfill does not come to it any more
            self._deferred.add(message_id)

    def gone(self, message_id: int) -> None:
        """Somebody has deleted it: backfill can't find it again."""
        self._deferred.discard(message_id)

    def _advance(self) -> None:
        if self.position is None:
            return
        position = self.position
        if not self._behind:
            position = self._newest - _BEHIND_IDS
            unhandled = (*self._arriving, *self._open, *self._deferred)
            if unhandled:
                position = min(position, min(unhandled) - 1)
        # Older messages are not answered any more, so a server that stays away does not stop the position for ever.
        position = max(position, self._newest - _OLDEST_IDS)
        if position - self.position >= _STEP_IDS:
            self._move_to(position)

    def _move_to(self, position: int) -> None:
        self.position = position
        for message_id in tuple(self._handled):
            if message_id <= position:
                self._handled.discard(message_id)
        self._store.read_up_to(PLATFORM, position)
