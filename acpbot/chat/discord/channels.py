"""discord.py's people and channels as the gate's plain values."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.chat.discord.access import Author, MessageSource

if TYPE_CHECKING:
    from acpbot.sessions.pool import Pool

PLATFORM: Final = "discord"

_THREADS_MOST: Final = 10_000


def person_of(user: discord.User | discord.Member, *, webhook_id: int | None = None) -> Author:
    """Who wrote or clicked, with the roles that came with the event."""
    roles = frozenset(str(role.id) for role in user.roles) if isinstance(user, discord.Member) else frozenset[str]()
    return Author(id=str(user.id), role_ids=roles, is_bot=user.bot, is_webhook=webhook_id is not None)


class Channels:
    """What the bot knows of the channels it hears: which threads are its own, and where other bots have written."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._bots: OrderedDict[str, None] = OrderedDict()
        self._parents: OrderedDict[str, str] = OrderedDict()

    def bot_wrote(self, channel_id: str) -> None:
        """Another bot has written there."""
        self._bots[channel_id] = None
        if len(self._bots) > _THREADS_MOST:
            self._bots.popitem(last=False)

    def opened(self, thread_id: str, channel_id: str) -> None:
        """A thread belongs to this channel."""
        self._parents[thread_id] = channel_id
        if len(self._parents) > _THREADS_MOST:
            self._parents.popitem(last=False)

    def parent_of(self, thread_id: str) -> str | None:
        """The channel that a thread belongs to, where it was heard of."""
        return self._parents.get(thread_id)

    def place_of(self, channel: Any, own_id: str) -> MessageSource:
        """Where something happened; ``channel`` is any messageable of discord.py."""
        channel_id = str(channel.id)
        if isinstance(channel, discord.DMChannel):
            return MessageSource(channel_id=channel_id, is_dm=True)
        if not isinstance(channel, discord.Thread):
            return MessageSource(channel_id=channel_id)
        self.opened(channel_id, str(channel.parent_id))
        thread = self._pool.thread(channel_id)
        return MessageSource(
            channel_id=channel_id,
            parent_id=str(channel.parent_id),
            is_thread=True,
            ours=str(channel.owner_id) == own_id or (thread is not None and thread.platform == PLATFORM),
            other_bots=channel_id in self._bots,
        )
