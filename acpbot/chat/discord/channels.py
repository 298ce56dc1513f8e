"""discord.py's users and channels as the plain values of :mod:`~acpbot.chat.discord.access`."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.chat.discord.access import Author, MessageSource

if TYPE_CHECKING:
    from acpbot.sessions.pool import Pool

PLATFORM: Final = "discord"

_CHANNELS_MAX: Final = 10_000


def author_of(user: discord.User | discord.Member, *, webhook_id: int | None = None) -> Author:
    """Who wrote or clicked, with the roles that came with the event."""
    roles = frozenset(str(role.id) for role in user.roles) if isinstance(user, discord.Member) else frozenset[str]()
    return Author(id=str(user.id), role_ids=roles, is_bot=user.bot, is_webhook=webhook_id is not None)


def own_role_id(guild: discord.Guild | None) -> str | None:
    """The role that Discord made for the bot in this server."""
    role = None if guild is None else guild.self_role
    return None if role is None else str(role.id)


class Channels:
    """What the bot knows of channels: which threads are its own, their parents, and where other bots have written."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._with_bots: OrderedDict[str, None] = OrderedDict()
        self._parents: OrderedDict[str, str] = OrderedDict()

    def add_other_bot(self, channel_id: str) -> None:
        """Another bot has written in this channel."""
        self._with_bots[channel_id] = None
        if len(self._with_bots) > _CHANNELS_MAX:
            self._with_bots.popitem(last=False)

    def add_thread(self, thread_id: str, parent_id: str) -> None:
        """The thread belongs to the channel ``parent_id``."""
        self._parents[thread_id] = parent_id
        if len(self._parents) > _CHANNELS_MAX:
            self._parents.popitem(last=False)

    def parent_of(self, thread_id: str) -> str | None:
        """The channel that a thread belongs to; ``None`` where the bot has seen nothing of the thread."""
        return self._parents.get(thread_id)

    def source_of(self, channel: Any, own_id: str) -> MessageSource:
        """The channel of an event; ``channel`` is any messageable of discord.py, ``own_id`` the bot's user id."""
        channel_id = str(channel.id)
        if isinstance(channel, discord.DMChannel):
            return MessageSource(channel_id=channel_id, is_dm=True)
        if not isinstance(channel, discord.Thread):
            return MessageSource(channel_id=channel_id)
        parent_id = str(channel.parent_id)
        self.add_thread(channel_id, parent_id)
        thread = self._pool.thread(channel_id)
        return MessageSource(
            channel_id=channel_id,
            parent_id=parent_id,
            is_thread=True,
            ours=str(channel.owner_id) == own_id or (thread is not None and thread.platform == PLATFORM),
            other_bots=channel_id in self._with_bots,
        )
