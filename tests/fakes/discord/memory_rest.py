"""Discord's messages in memory, behind what the delivery calls: slow, out of reach at times, and answers get lost."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from acpbot.chat.discord.discord_time import snowflake
from acpbot.chat.discord.outbound.rest import (
    ARCHIVED,
    BAD_REQUEST,
    NOT_FOUND,
    UNKNOWN_MESSAGE,
    RequestRefused,
    Rest,
    Unreachable,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from acpbot.chat.discord.outbound.rest import File

ME = "7"
_DELAYS = (0.0, 0.0, 0.02, 0.3, 2.0)
_NONCE_SECONDS = (130.0, 400.0)
"""How long a nonce is known: surely, and at most."""


class MemoryRest(Rest):
    """Stands in for ``chat.discord.outbound.rest.Rest``. ``faults``: of how many requests one fails, by chance.

    ``there`` are each channel's messages by id, oldest first; ``out``: nothing can be reached. ``made`` is called for
    each message that is made, with nonce and id, and ``gone`` for each that is deleted, with its nonce.
    """

    def __init__(
        self,
        chance: random.Random,
        wall: Callable[[], float],
        made: Callable[[str, str], None],
        gone: Callable[[str], None],
    ) -> None:
        super().__init__(wall=wall)
        self._logged_in.set()
        self.there: dict[str, dict[str, dict[str, Any]]] = {}
        self.reactions: dict[str, dict[str, None]] = {}
        self._archived: set[str] = set()
        self._awake: dict[str, float] = {}
        self.faults = 0.2
        self.out = False
        self.made = made
        self.gone = gone
        self._chance = chance
        self._wall = wall
        self._numbers = itertools.count()
        self._nonces: dict[str, tuple[str, float]] = {}

    def archive(self, channel_id: str) -> None:
        """Archive a thread, unless it was woken within the last minute."""
        if self._wall() >= self._awake.get(channel_id, 0.0):
            self._archived.add(channel_id)

    async def _arrives(self) -> None:
        await asyncio.sleep(self._chance.choice(_DELAYS))
        self._may_fail("it does not arrive")

    async def _answers(self) -> None:
        await asyncio.sleep(self._chance.choice(_DELAYS))
        self._may_fail("its answer is lost")

    def _may_fail(self, words: str) -> None:
        if self.out or self._chance.random() < self.faults / 2:
            raise Unreachable(words)

    def _message(self, channel_id: str, message_id: str) -> dict[str, Any]:
        if channel_id in self._archived:
            raise RequestRefused(BAD_REQUEST, ARCHIVED, "Thread is archived")
        message = self.there.get(channel_id, {}).get(message_id)
        if message is None:
            raise RequestRefused(NOT_FOUND, UNKNOWN_MESSAGE, "Unknown Message")
        return message

    async def send(
        self,
        channel_id: str,
        content: str,
        *,
        nonce: str,
        components: Sequence[dict[str, Any]] = (),
        file: File | None = None,
        reply_to: str | None = None,
        pings: str | None = None,
    ) -> str:
        del reply_to, pings
        await self._arrives()
        message_id, until = self._nonces.get(nonce, ("", 0.0))
        if self._wall() >= until:
            message_id = str(snowflake(self._wall()) + next(self._numbers))
            self._nonces[nonce] = message_id, self._wall() + self._chance.uniform(*_NONCE_SECONDS)
            self._archived.discard(channel_id)
            self.there.setdefault(channel_id, {})[message_id] = {
                "id": message_id,
                "author": {"id": ME},
                "content": content.strip(),
                "components": list(components),
                "attachments": [] if file is None else [{"filename": file.filename}],
                "sent with": nonce,
            }
            self.made(nonce, message_id)
        await self._answers()
        return message_id

    async def edit(
        self,
        channel_id: str,
        message_id: str,
        latest: Callable[[], tuple[str, Sequence[dict[str, Any]]]],
        *,
        urgent: bool,
    ) -> tuple[str, Sequence[dict[str, Any]]]:
        del urgent
        await asyncio.sleep(self._chance.choice(_DELAYS))
        content, components = latest()
        await self._arrives()
        self._message(channel_id, message_id).update(content=content.strip(), components=list(components))
        await self._answers()
        return content, components

    async def delete(self, channel_id: str, message_id: str) -> None:
        await self._arrives()
        if channel_id in self._archived or message_id in self.there.get(channel_id, {}):
            self.gone(self._message(channel_id, message_id)["sent with"])
            del self.there[channel_id][message_id]
        await self._answers()

    async def react(self, channel_id: str, message_id: str, emoji: str, *, add: bool, spare: bool = False) -> None:
        del spare
        await self._arrives()
        if channel_id in self._archived:
            raise RequestRefused(BAD_REQUEST, ARCHIVED, "Thread is archived")
        shown = self.reactions.setdefault(message_id, {})
        if add:
            shown[emoji] = None
        else:
            shown.pop(emoji, None)
        await self._answers()

    async def posted_since(self, channel_id: str, message_id: str) -> list[dict[str, Any]]:
        await self._arrives()
        found = [one for key, one in self.there.get(channel_id, {}).items() if int(key) > int(message_id)]
        await self._answers()
        return sorted(found, key=lambda one: int(one["id"]))[:100]

    async def change_thread(self, thread_id: str, **fields: Any) -> None:
        await self._arrives()
        assert fields == {"archived": False}
        self._awake[thread_id] = self._wall() + 60.0
        self._archived.discard(thread_id)
        await self._answers()

    def edit_delay(self, channel_id: str) -> float:
        del channel_id
        return self._chance.choice((0.0, 0.0, 1.2))
