"""A person's message on its way in: access, thread, files, the thread's queue; and its edits and deletion."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.aio import KeyedLocks
from acpbot.chat.discord import access
from acpbot.chat.discord.access import PLATFORM, Decision, author_of, own_role_id
from acpbot.chat.discord.discord_platform import PendingMessage
from acpbot.chat.discord.inbound import content, download
from acpbot.chat.discord.inbound.other_bots import OtherBots
from acpbot.chat.discord.inbound.recheck import AskedBy
from acpbot.chat.discord.inbound.refusal_text import refusal_text
from acpbot.chat.discord.outbound.reactions import ReactionEvent, ReactionUpdater
from acpbot.chat.discord.outbound.rest import FORBIDDEN, UNKNOWN_MESSAGE, RequestRefused, Unreachable
from acpbot.chat.platform import IncomingMessage
from acpbot.chat.rendering.markdown import code
from acpbot.errors import AgentError, Draining, WireError
from acpbot.logs import get_logger
from acpbot.sessions.views import Target
from acpbot.text import is_blank

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.access import Channels, CurrentSettings, MessageSource
    from acpbot.chat.discord.discord_platform import DiscordPlatform, PendingMessages
    from acpbot.chat.discord.inbound.read_cursor import ReadCursor
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.threads import Threads
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

DENIED: Final = "🚫"

_PROMPTS: Final = frozenset({discord.MessageType.default, discord.MessageType.reply})
_EMPTY: Final = 'Hi! Mention me with a task, e.g. "@acpbot fix the failing test".'
RESTARTING: Final = "I'm restarting. I'll answer this once I'm back."
_INTERNAL: Final = "I could not take this message. Something went wrong on my side. An admin can check the log."


class Intake:
    """Makes turns of the messages that are for the bot. ``clock``: monotonic seconds."""

    def __init__(
        self,
        *,
        settings: CurrentSettings,
        pool: Pool,
        platform: DiscordPlatform,
        messages: PendingMessages,
        cursor: ReadCursor,
        channels: Channels,
        threads: Threads,
        outbox: Outbox,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._platform = platform
        self._messages = messages
        self._cursor = cursor
        self._channels = channels
        self._threads = threads
        self._outbox = outbox
        self._other_bots = OtherBots(settings, pool.known_threads, channels, outbox)
        self._bot_turns = access.BotTurns()
        self._told_of_restart: set[str] = set()
        self._denials = access.AnswerLimit(clock)
        self._explanations = access.AnswerLimit(clock)
        self._locks = KeyedLocks()

    # Messages.

    async def handle(self, message: discord.Message, me: discord.ClientUser, *, missed: bool = False) -> None:
        """Decide what to do with a message, and queue it where it is for the bot.

        ``missed``: it comes from a channel's history.
        """
        if message.type not in _PROMPTS:
            return
        own_id, channel_id = str(me.id), str(message.channel.id)
        author = author_of(message.author, webhook_id=message.webhook_id)
        if author.is_bot and author.id != own_id:
            self._channels.add_other_bot(channel_id)
        source = self._channels.source_of(message.channel, own_id)
        settings, own_role = self._settings.discord, None if message.guild is None else message.guild.self_role
        mentioned = access.is_mentioned(me, message.mentions, message.role_mentions, own_role=own_role)
        decision = access.decide(settings, author, source, mentioned=mentioned, own_id=own_id)
        if decision is Decision.ALLOW and not self._cursor.begin(message.id):
            return
        if decision is Decision.ALLOW and author.is_program:
            decision = self._bot_turns.count(channel_id, settings.max_bot_turns)
        elif access.is_allowed(settings, author, source):
            self._bot_turns.reset(channel_id)
        if decision is Decision.DENY and self._denials.take(author.id, channel_id):
            log.info("message_denied", user=author.id, channel=channel_id)
            self._outbox.deny(channel_id, str(message.id), DENIED)
        try:
            if decision is Decision.ALLOW:
                await self._accept(message, source, own_id, missed=missed)
        except Draining:
            # Backfill finds it again: after a restart, or in this process if the drain is cancelled.
            self._cursor.defer(message.id)
            self._tell_restart(message)
        else:
            self._cursor.end(message.id, taken=decision is Decision.ALLOW)

    async def _accept(self, message: discord.Message, source: MessageSource, own_id: str, *, missed: bool) -> None:
        """Queue it, or say in the channel why not. Raises Draining."""
        key = str(message.id)
        pending = self._messages.by_key[key] = PendingMessage(key, message.content, missed=missed)
        asked_by = pending.asked_by = AskedBy(author_of(message.author, webhook_id=message.webhook_id), source)
        queued = False
        # In a thread the order of the messages is the order of the turns, however long a download takes.
        order = source.channel_id if source.is_thread or source.is_dm else key
        try:
            async with self._locks.hold(order):
                if source.is_thread:
                    await self._other_bots.look(source, own_id)
                before = await self._queue(message, source, own_id, pending)
                queued, asked_by.waited = before is not None, bool(before)
        except Draining:
            raise
        except Exception:
            # Broad, because an odd message must not stop the messages that follow; its channel is informed.
            log.exception("message_lost", message=key, channel=source.channel_id)
            if pending.reactions is not None:
                pending.reactions.on(ReactionEvent.ERROR)
            self._explain(message, source.channel_id, _INTERNAL)
        finally:
            if not queued:
                self._messages.discard(pending)

    async def _queue(
        self, message: discord.Message, source: MessageSource, own_id: str, pending: PendingMessage
    ) -> int | None:
        """Queue the message's turn; return how many are before it, `None` where there is no turn. Raises Draining."""
        own_role = own_role_id(message.guild)
        files = list(message.attachments)
        for forwarded in message.message_snapshots:
            files += forwarded.attachments
        if is_blank(access.without_mention(pending.text, own_id, own_role_id=own_role)) and not files:
            self._explain(message, source.channel_id, _EMPTY, reply=True)
            return None
        reactions = pending.reactions = ReactionUpdater(
            self._outbox, self._settings.reactions, source.channel_id, pending.key, again=pending.missed
        )
        if self._pool.draining:
            raise Draining("cannot take a message: acpbot is about to stop or restart")
        self._told_of_restart.clear()
        thread_id: str | None = source.channel_id
        if not (source.is_thread or source.is_dm):
            thread_id = await self._open_thread(message, own_id)
        blocks = await self._download(thread_id, files) if files and thread_id is not None else []
        if thread_id is None or pending.deleted:
            reactions.on(ReactionEvent.ERROR if thread_id is None else ReactionEvent.CANCELLED)
            return None
        incoming = IncomingMessage(
            thread_id=thread_id,
            text=content.defuse(access.without_mention(pending.text, own_id, own_role_id=own_role)),
            owner=str(message.author.id),
            by_program=message.author.bot or message.webhook_id is not None,
            key=pending.key,
            origin=source.channel_id,
            context=_context(message),
            blocks=blocks,
        )
        try:
            before = self._platform.conversations.receive(incoming)
        except Draining:
            raise
        except (WireError, AgentError) as error:
            if self._explain(message, thread_id, refusal_text(error, incoming.owner)):
                reactions.on(ReactionEvent.ERROR)
            else:
                reactions.on(ReactionEvent.CANCELLED)
                self._outbox.deny(source.channel_id, pending.key, self._settings.reactions.emojis.error)
            return None
        return before

    def _tell_restart(self, message: discord.Message) -> None:
        """Post, once in each channel, that messages are kept until the bot is back."""
        channel_id = str(message.channel.id)
        if channel_id not in self._told_of_restart:
            self._told_of_restart.add(channel_id)
            self._outbox.post(channel_id, RESTARTING, reply_to=str(message.id))

    async def _open_thread(self, message: discord.Message, own_id: str) -> str | None:
        """The thread for a message in a channel; ``None`` where Discord opens none: the channel gets the reason."""
        title = access.without_mention(_readable(message), own_id)
        channel_id, key = str(message.channel.id), str(message.id)
        try:
            # One person's threads are opened one by one: many of them must not keep others waiting.
            async with self._locks.hold((channel_id, message.author.id)):
                thread_id = await self._threads.open(channel_id, key, title)
        except RequestRefused as error:
            words = None if error.code == UNKNOWN_MESSAGE else f"I cannot open a thread here ({error}). {_why(error)}"
        except Unreachable as error:
            words = f"I cannot open a thread here: Discord does not answer ({error}). Try again in a moment."
        else:
            self._channels.add_thread(thread_id, channel_id)
            return thread_id
        log.warning("thread_not_opened", channel=channel_id, reason=words or "it is deleted")
        if words is not None:
            self._explain(message, channel_id, words, reply=True)
        return None

    def _explain(self, message: discord.Message, channel_id: str, text: str, *, reply: bool = False) -> bool:
        """Post why a message is not taken; not again and again to the same person. Return whether it is posted."""
        if not self._explanations.take(str(message.author.id), f"{channel_id} {text}"):
            return False
        self._outbox.post(channel_id, text, reply_to=str(message.id) if reply else None)
        return True

    async def _download(self, thread_id: str, files: list[discord.Attachment]) -> list[dict[str, Any]]:
        """The files as content blocks; a message in the thread lists those that are left out."""
        session = self._pool.get(thread_id)
        agent = None if session is None else session.agent
        capabilities = None if agent is None or agent.info is None else agent.capabilities.prompt_capabilities
        announced = [
            content.Attachment(filename=file.filename, content_type=file.content_type, size=file.size, url=file.url)
            for file in files
        ]
        most = self._settings.discord.max_attachment_bytes
        plan = content.plan(announced, capabilities, most)
        blocks: list[dict[str, Any]] = []
        notes = list(plan.refused)
        for wanted in plan.accept:
            try:
                async with asyncio.timeout(download.SECONDS):
                    data = await download.fetch(wanted.url, most, self._outbox.retries)
            except (download.NotFetched, TimeoutError) as error:
                reason = str(error) or f"it took more than {download.SECONDS:.0f} s"
                notes.append(f"I did not pass on {code(wanted.filename)}: it could not be downloaded ({reason}).")
                continue
            taken = content.blocks(wanted.filename, data, capabilities, most)
            blocks += taken.blocks
            notes += taken.notes
        if notes:
            self._outbox.post(thread_id, "\n".join(notes)[:2000])
        return blocks

    # Edits and deletions.

    def edited(self, message: discord.Message, me: discord.ClientUser) -> None:
        """Replace the text of a message whose turn does not run yet."""
        pending = self._messages.by_key.get(str(message.id))
        if pending is None:
            return
        # An event without the member's roles says nothing new about them.
        if isinstance(message.author, discord.Member):
            author = author_of(message.author, webhook_id=message.webhook_id)
            source = self._channels.source_of(message.channel, str(me.id))
            decision = access.decide(self._settings.discord, author, source, mentioned=True, own_id=str(me.id))
            if decision is not Decision.ALLOW:
                log.info("edit_denied", user=author.id, message=pending.key)
                return
        self._platform.revise(pending, message.content, me, message.guild)

    def deleted(self, message_id: int) -> None:
        """Take a message back whose turn does not run yet."""
        self._cursor.gone(message_id)
        self._platform.withdraw(str(message_id))

    async def thread_deleted(self, thread_id: str) -> None:
        """End the session of a deleted thread: nobody can read its answers. One that the bot cannot see stays."""
        session, known = self._pool.get(thread_id), self._pool.known_threads.get(thread_id)
        if known is None or known.platform != PLATFORM or await self._outbox.rest.exists(thread_id):
            return
        self._pool.known_threads.forget(thread_id)
        self._pool.withdraw_from_line(thread_id)
        if session is None or session is not self._pool.get(thread_id):
            return
        log.info("thread_deleted", thread=thread_id)
        await self._pool.kill([Target(thread_id=thread_id, session_id=session.session_id)], forget=True)


def _why(error: RequestRefused) -> str:
    """What can be done about a thread that Discord does not want to open."""
    if error.status == FORBIDDEN:
        return "I need the permissions View Channel, Send Messages in Threads and Create Public Threads."
    return "Mention me in a text channel, or in a thread."


def _readable(message: discord.Message) -> str:
    """The text with names in place of mentions, for the thread's title; mentions of bots stay as they are."""
    text = message.content
    for user in message.mentions:
        if user.id != message.author.id and not user.bot:
            text = text.replace(f"<@{user.id}>", f"@{user.display_name}").replace(f"<@!{user.id}>", f"@{user.name}")
    return text


def _context(message: discord.Message) -> str:
    channel = message.channel
    name = None if isinstance(channel, discord.DMChannel) else getattr(channel, "name", None)
    return content.sender_context(
        message.author.display_name,
        str(message.author.id),
        name,
        None if message.guild is None else message.guild.name,
        message.created_at,
        is_bot=message.author.bot,
    )
