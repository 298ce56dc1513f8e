"""Whether a message that has waited may still run: its author may have lost access since it was queued."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import discord
from msgspec import structs

from acpbot.aio import retry
from acpbot.chat.discord import access
from acpbot.chat.discord.access import Author, MessageSource
from acpbot.chat.discord.outbound.rest import NOT_FOUND, RequestRefused, Unreachable
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.chat.discord.access import CurrentSettings
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.platform import IncomingMessage

log = get_logger(__name__)

NO_ACCESS: Final = "You no longer have access to this bot here, so I didn't run this message."
LOST_ACCESS: Final = "You no longer have access to this bot here."
UNKNOWN_ACCESS: Final = "I couldn't check whether you still have access to this bot, so I didn't run this message."
RECHECK_SECONDS: Final = 30.0
"""How long Discord may take to answer."""

_FRESH_SECONDS: Final = 10.0
"""For so long the roles that came with a message count as those that its author has, where no turn was before it."""

_THREADS: Final = frozenset(
    kind.value
    for kind in (
        discord.ChannelType.news_thread,
        discord.ChannelType.public_thread,
        discord.ChannelType.private_thread,
    )
)


class AskedBy:
    """Who asked, and where, as the event from Discord described it.

    ``at``: seconds of the event loop's clock. ``waited``: the turn was queued behind others.
    """

    __slots__ = ("at", "author", "source", "waited")

    def __init__(self, author: Author, source: MessageSource) -> None:
        self.author = author
        self.source = source
        self.waited = False
        self.at = asyncio.get_running_loop().time()

    @property
    def fresh(self) -> bool:
        """Whether the author's roles need no second look."""
        return not self.waited and asyncio.get_running_loop().time() - self.at < _FRESH_SECONDS


class AccessRecheck:
    """Applies the rules of access that hold when a turn's time has come."""

    def __init__(self, settings: CurrentSettings, outbox: Outbox) -> None:
        self._settings = settings
        self._outbox = outbox

    async def refusal(
        self, incoming: IncomingMessage, asked_by: AskedBy | None, found: dict[str, Any] | None
    ) -> str | None:
        """Why the message may not run, a sentence for its author; ``None`` where it may.

        ``asked_by`` is ``None`` after a restart; ``found`` is then the message as it is now, where Discord gave it.
        """
        try:
            async with asyncio.timeout(RECHECK_SECONDS):
                allowed = await self._is_allowed(incoming, asked_by, found)
        except (TimeoutError, RequestRefused) as error:
            log.warning(
                "access_unknown", thread=incoming.thread_id, message=incoming.key, error=str(error) or "no answer"
            )
            parent_id = incoming.channel or incoming.origin or None
            where = MessageSource(channel_id=incoming.thread_id, parent_id=parent_id, is_thread=True, ours=True)
            return None if self._may_run(_author(found, incoming), where) else UNKNOWN_ACCESS
        if not allowed:
            log.info("waiting_message_denied", user=incoming.owner, thread=incoming.thread_id, message=incoming.key)
        return None if allowed else NO_ACCESS

    async def lost(self, incoming: IncomingMessage, asked_by: AskedBy | None) -> str | None:
        """A sentence where the author certainly has no access any more, else ``None``."""
        try:
            async with asyncio.timeout(RECHECK_SECONDS):
                allowed = await self._is_allowed(incoming, asked_by, None)
        except (TimeoutError, RequestRefused):
            return None
        if not allowed:
            log.info("access_lost", user=incoming.owner, thread=incoming.thread_id, message=incoming.key)
        return None if allowed else LOST_ACCESS

    async def _is_allowed(
        self, incoming: IncomingMessage, asked_by: AskedBy | None, found: dict[str, Any] | None
    ) -> bool:
        channel_id = incoming.origin or incoming.thread_id
        if asked_by is not None:
            author, source = asked_by.author, asked_by.source
        else:
            author, source = _author(found, incoming), _source(await self._channel(channel_id))
        if self._may_run(structs.replace(author, role_ids=frozenset()), source):
            return True
        if author.is_program or source.is_dm or not access.roles_matter(self._settings.discord, source):
            return False
        if asked_by is None or not asked_by.fresh:
            author = structs.replace(author, role_ids=await self._roles(channel_id, author.id))
        return self._may_run(author, source)

    def _may_run(self, author: Author, source: MessageSource) -> bool:
        return access.may_still_run(self._settings.discord, author, source)

    async def _roles(self, channel_id: str, user_id: str) -> frozenset[str]:
        """The person's roles now; none where they have left the server."""
        guild_id = str((await self._channel(channel_id))["guild_id"])
        path, call = "/guilds/{guild_id}/members/{user_id}", self._outbox.rest.call
        try:
            member = await self._retried(partial(call, "GET", path, urgent=False, guild_id=guild_id, user_id=user_id))
        except RequestRefused as error:
            if error.status != NOT_FOUND:
                raise
            return frozenset()
        return frozenset(map(str, member.get("roles", ())))

    async def _channel(self, channel_id: str) -> dict[str, Any]:
        call = self._outbox.rest.call
        return await self._retried(partial(call, "GET", "/channels/{channel_id}", urgent=False, channel_id=channel_id))

    async def _retried(self, get: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        found: dict[str, Any] = await retry(get, on=(Unreachable,), backoff=self._outbox.retries)
        return found


def _author(found: dict[str, Any] | None, incoming: IncomingMessage) -> Author:
    author = (found or {}).get("author", {})  # the bot's own message stands for a press of a button
    bot = incoming.by_program or (bool(author.get("bot")) and str(author.get("id")) == incoming.owner)
    return Author(id=incoming.owner, is_bot=bot, is_webhook=(found or {}).get("webhook_id") is not None)


def _source(channel: dict[str, Any]) -> MessageSource:
    """Where a message that was accepted was written; so a thread is the bot's."""
    kind, parent = channel.get("type"), channel.get("parent_id")
    is_thread = kind in _THREADS
    return MessageSource(
        channel_id=str(channel["id"]),
        parent_id=str(parent) if is_thread and parent is not None else None,
        is_dm=kind == discord.ChannelType.private.value,
        is_thread=is_thread,
        ours=is_thread,
    )
