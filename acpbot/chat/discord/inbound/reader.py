"""Reads a message for the agent: what it refers to is fetched, its files are downloaded."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import discord

from acpbot.chat.discord.access import own_role_id, without_mention
from acpbot.chat.discord.inbound import content, download
from acpbot.chat.discord.inbound.readable import Readable, Reply, ThreadPast, past_data, plain_title, readable
from acpbot.chat.discord.inbound.surroundings import Surroundings
from acpbot.text import is_blank

if TYPE_CHECKING:
    from acpbot.acp.schema import PromptCapabilities
    from acpbot.chat.discord.access import Channels, CurrentSettings, MessageSource
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.platform import IncomingMessage
    from acpbot.sessions.pool import Pool

_EMPTY: Final = 'Hi! Mention me with a task, e.g. "@acpbot fix the failing test".'
_REPLY_DELETED: Final = "The message you replied to was deleted, so I can't read it. Tell me what to do."
_REPLY_UNKNOWN: Final = "I couldn't read the message you replied to. Please try again in a moment."


_FORWARD_IDS: Final = 30_000 << 22
"""A message so long after a forwarded one belongs to it: 30 s, as the difference of two ids."""

_FORWARDS_MOST: Final = 1000


class Reading(NamedTuple):
    """A message as it is read: ``has_words`` says whether there is something to do even if no file can be read."""

    shown: Readable
    reply: Reply
    forward: discord.Message | None
    has_words: bool


class MessageReader:
    """Reads messages; what Discord does not give in time is said to be missing."""

    def __init__(self, settings: CurrentSettings, pool: Pool, channels: Channels, outbox: Outbox) -> None:
        self._settings = settings
        self._pool = pool
        self._channels = channels
        self._outbox = outbox
        self._surroundings = Surroundings(outbox)
        self._forwards: OrderedDict[tuple[int, int], discord.Message] = OrderedDict()

    def saw_forward(self, message: discord.Message) -> None:
        """Somebody has forwarded a message, not to the bot: what they write next may be about it."""
        self._forwards[message.channel.id, message.author.id] = message
        if len(self._forwards) > _FORWARDS_MOST:
            self._forwards.popitem(last=False)

    async def read(self, message: discord.Message, own_id: str) -> Reading:
        """The message, with the one that it replies to."""
        forward = self._forwards.pop((message.channel.id, message.author.id), None)
        if forward is not None and not 0 < message.id - forward.id < _FORWARD_IDS:
            forward = None
        reply = await self._surroundings.reply(message)
        shown = readable(message, own_id=own_id, reply=reply, forward=forward)
        words = without_mention(message.content, own_id, own_role_id=own_role_id(message.guild))
        return Reading(shown, reply, forward, shown.own_words or not is_blank(words))

    def nothing_to_do(self, reading: Reading, source: MessageSource) -> str | None:
        """Why there is nothing to do for an agent, for the author to read; ``None`` where there may be something."""
        if reading.has_words:
            return None
        plan = self._plan(reading.shown, source.channel_id)
        if reading.shown.is_readable({file.filename for file in plan.accept}):
            return None
        if plan.refused:
            return "\n".join(plan.refused)[:2000]
        return {"deleted": _REPLY_DELETED, "unknown": _REPLY_UNKNOWN}.get(reading.reply.state, _EMPTY)

    def title(self, message: discord.Message, shown: Readable, own_id: str) -> str:
        """What the message is about, for the name of its thread."""
        text = plain_title(message.content, message, own_id)
        title = without_mention(text, own_id, own_role_id=own_role_id(message.guild))
        return shown.title if is_blank(title) else title

    async def with_past(
        self, message: discord.Message, reading: Reading, source: MessageSource, own_id: str
    ) -> Readable:
        """The message, with what was written in its thread before where the agent will know nothing of that."""
        thread = self._pool.thread(source.channel_id)
        is_new = thread is None or (self._pool.get(source.channel_id) is None and not thread.resumable)
        if not (source.is_thread and is_new):
            return reading.shown
        past = await self._past(message.channel, message.id)
        return readable(message, own_id=own_id, reply=reading.reply, forward=reading.forward, past=past)

    async def past_of(self, incoming: IncomingMessage) -> dict[str, Any]:
        """What was written in a thread before a message that is read already; nothing where its thread is unknown."""
        client = self._outbox.rest.client
        channel = None if client is None else client.get_channel(int(incoming.thread_id))
        if not isinstance(channel, discord.Thread) or not incoming.key.isdecimal():
            return {}
        if client is None or client.user is None:
            return {}
        return past_data(channel, await self._past(channel, int(incoming.key)), str(client.user.id))

    async def _past(self, channel: Any, message_id: int) -> ThreadPast:
        return await self._surroundings.past(channel, message_id, after=self._channels.begun_anew(str(channel.id)))

    async def download(self, shown: Readable, thread_id: str) -> download.Downloaded:
        """The files as content blocks; a message in the thread lists those that are left out."""
        plan = self._plan(shown, thread_id)
        most = self._settings.discord.max_attachment_bytes
        files = await download.download(plan, self._capabilities(thread_id), most, self._outbox.retries)
        if files.notes:
            self._outbox.post(thread_id, "\n".join(files.notes)[:2000])
        return files

    def _plan(self, shown: Readable, thread_id: str) -> content.Plan:
        most = self._settings.discord.max_attachment_bytes
        return content.plan([*shown.own_files, *shown.other_files], self._capabilities(thread_id), most)

    def _capabilities(self, thread_id: str) -> PromptCapabilities | None:
        session = self._pool.get(thread_id)
        agent = None if session is None else session.agent
        return None if agent is None or agent.info is None else agent.capabilities.prompt_capabilities
