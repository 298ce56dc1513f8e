"""Fetches what a message refers to: the message that it replies to, and what was written in its thread before.

A message is never lost because of that: what Discord does not give in time is said to be missing.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import discord

from acpbot.aio import retry
from acpbot.chat.discord import compat
from acpbot.chat.discord.inbound.readable import EARLIER_MAX, Reply, ThreadPast, reply_in
from acpbot.chat.discord.outbound.rest import NOT_FOUND, RequestRefused, Unreachable
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from acpbot.chat.discord.outbound.outbox import Outbox

log = get_logger(__name__)

T = TypeVar("T")

SECONDS: Final = 10.0
"""How long Discord may take to answer, all tries together: a person waits meanwhile."""

_TRIES: Final = 3

_WRITTEN: Final = frozenset(
    {
        discord.MessageType.default,
        discord.MessageType.reply,
        discord.MessageType.chat_input_command,
        discord.MessageType.context_menu_command,
    }
)


class Surroundings:
    """Asks Discord; every answer is a message of discord.py."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def reply(self, message: discord.Message) -> Reply:
        """The message that this one replies to."""
        reply = reply_in(message)
        if reply is not None:
            return reply
        reference = message.reference
        wanted = "" if reference is None else str(reference.message_id)
        try:
            async with asyncio.timeout(SECONDS):
                found = await self._message(message.channel, str(message.channel.id), wanted)
        except (RequestRefused, Unreachable, TimeoutError) as error:
            log.warning("reply_not_fetched", message=str(message.id), error=str(error) or "no answer")
            return Reply("unknown")
        return Reply("deleted") if found is None else Reply("found", found)

    async def past(self, channel: Any, message_id: int, *, after: int = 0) -> ThreadPast:
        """What was written in a thread before this message; ``after``: only what is newer than this id."""
        failed = False
        page: list[discord.Message] = []
        is_full = False
        try:
            async with asyncio.timeout(SECONDS):
                before = partial(self._outbox.rest.page_before, str(channel.id), str(message_id), EARLIER_MAX)
                found = await self._retried(before)
            is_full = len(found) == EARLIER_MAX
            page = messages_of(channel, [one for one in found if int(one["id"]) > after])
        except (RequestRefused, Unreachable, TimeoutError) as error:
            log.warning("thread_not_fetched", thread=str(channel.id), error=str(error) or "no answer")
            failed = True
        starter = None
        if after == 0 and message_id != channel.id:
            starter = _starter_in(page, channel.id)
            if starter is None:
                try:
                    async with asyncio.timeout(SECONDS):
                        starter = await self._starter(channel)
                except (RequestRefused, Unreachable, TimeoutError) as error:
                    log.warning("starter_not_fetched", thread=str(channel.id), error=str(error) or "no answer")
                    failed = True
        earlier = [one for one in page if one.type in _WRITTEN and (starter is None or one.id != starter.id)]
        return ThreadPast(starter, earlier, more=is_full and after == 0, failed=failed)

    async def _starter(self, channel: Any) -> discord.Message | None:
        """The message that a thread began with, which has the thread's id; ``None`` where it has none, or no more."""
        parent = getattr(channel, "parent", None)
        where = channel if parent is None or isinstance(parent, discord.ForumChannel) else parent
        return await self._message(where, str(where.id), str(channel.id))

    async def _message(self, channel: Any, channel_id: str, message_id: str) -> discord.Message | None:
        """A message; ``None`` where it is deleted. Raises RequestRefused, Unreachable."""
        try:
            found = await self._retried(partial(self._outbox.rest.message, channel_id, message_id))
        except RequestRefused as error:
            if error.status == NOT_FOUND:
                return None
            raise
        read = messages_of(channel, [found])
        if not read:
            raise Unreachable("a message that discord.py cannot read")
        return read[0]

    async def _retried(self, get: Callable[[], Awaitable[T]]) -> T:
        return await retry(get, on=(Unreachable,), backoff=self._outbox.retries, attempts=_TRIES)


def _starter_in(page: Sequence[discord.Message], thread_id: int) -> discord.Message | None:
    """The message that the thread began with, where this page of its history has it."""
    for message in page:
        if message.id == thread_id:
            return message
        is_copy = message.type is discord.MessageType.thread_starter_message and message.reference is not None
        if is_copy and message.reference is not None and isinstance(message.reference.resolved, discord.Message):
            return message.reference.resolved
    return None


def messages_of(channel: Any, found: Sequence[dict[str, Any]]) -> list[discord.Message]:
    """The messages of a channel's history that these are; one that discord.py can't read is left out."""
    messages: list[discord.Message] = []
    for data in found:
        try:
            messages.append(compat.message_of(channel, data))
        except Exception:
            # Broad: the library raises anything for data that it does not expect, and the others can be read.
            log.exception("message_unreadable", message=str(data.get("id")), channel=str(channel.id))
    return messages
