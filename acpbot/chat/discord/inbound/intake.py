"""A person's message on its way in: access, thread, files, the thread's queue; and its edits and deletion."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import discord

from acpbot.aio import KeyedLocks
from acpbot.chat.discord import access
from acpbot.chat.discord.access import PLATFORM, Decision, author_of, own_role_id
from acpbot.chat.discord.discord_platform import PendingMessage
from acpbot.chat.discord.gateway.places import missing_permissions
from acpbot.chat.discord.inbound import agent_choice, content
from acpbot.chat.discord.inbound.other_bots import OtherBots
from acpbot.chat.discord.inbound.read_cursor import OLDEST_SECONDS
from acpbot.chat.discord.inbound.readable import begins_with_another
from acpbot.chat.discord.inbound.reader import MessageReader
from acpbot.chat.discord.inbound.recent_ids import RecentIds
from acpbot.chat.discord.inbound.recheck import AskedBy
from acpbot.chat.discord.inbound.refusal_text import refusal_text
from acpbot.chat.discord.outbound.reactions import ReactionEvent, ReactionUpdater
from acpbot.chat.discord.outbound.rest import UNKNOWN_MESSAGE, RequestRefused, Unreachable
from acpbot.chat.discord.outbound.threads import not_opened_text
from acpbot.chat.platform import IncomingMessage
from acpbot.errors import AgentError, Draining, WireError
from acpbot.logs import get_logger
from acpbot.sessions.views import Target
from acpbot.text import is_blank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acpbot.chat.discord.access import Author, Channels, CurrentSettings, MessageSource
    from acpbot.chat.discord.discord_platform import DiscordPlatform, PendingMessages
    from acpbot.chat.discord.inbound.agent_choice import NextAgents
    from acpbot.chat.discord.inbound.read_cursor import ReadCursor
    from acpbot.chat.discord.inbound.readable import Readable
    from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
    from acpbot.chat.discord.interactions.question_prompts import QuestionPrompts
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.threads import Threads
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

DENIED: Final = "🚫"

_PROMPTS: Final = frozenset({discord.MessageType.default, discord.MessageType.reply})
_TITLE_MAX: Final = 500
RESTARTING: Final = "I'm restarting. I'll answer this once I'm back."
_INTERNAL: Final = "Something went wrong on my side, so I couldn't take this message. An admin can check the log."


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
        next_agents: NextAgents,
        prompts: Sequence[PermissionPrompts | QuestionPrompts],
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
        self._reader = MessageReader(settings, pool, channels, outbox)
        self._next_agents = next_agents
        self._prompts = prompts
        self._other_bots = OtherBots(settings, pool.known_threads, channels, outbox)
        self._bot_turns = access.BotTurns()
        self._restart_announced: set[str] = set()
        self._denials = access.AnswerLimit(clock)
        self._explanations = access.AnswerLimit(clock)
        self._ignored = RecentIds()
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
        if not self._answers(message, own_id, author, source):
            await self._take(message, me, author, source, missed=missed)

    async def _take(
        self, message: discord.Message, me: discord.ClientUser, author: Author, source: MessageSource, *, missed: bool
    ) -> None:
        """Queue a message that is for the bot, or show that its author may not use it."""
        own_id, channel_id = str(me.id), source.channel_id
        settings = self._settings.discord
        decision = self._decide(message, me, author, source)
        if decision is Decision.ALLOW and not self._cursor.begin(message.id):
            return
        if decision is Decision.ALLOW and author.is_program:
            decision = self._bot_turns.count(channel_id, settings.max_bot_turns)
        elif access.is_allowed(settings, author, source):
            self._bot_turns.reset(channel_id)
        if decision is Decision.DENY and self._denials.take(author.id, channel_id):
            rule = "person: max_bot_turns is reached" if author.is_program else access.denial(settings, author, source)
            log.info("message_denied", user=author.id, channel=channel_id, rule=rule)
            self._outbox.deny(channel_id, str(message.id), DENIED)
        try:
            if decision is Decision.ALLOW:
                await self._accept(message, source, own_id, missed=missed)
        except Draining:
            # Backfill finds it again: after a restart, or in this process if the drain is cancelled.
            self._cursor.defer(message.id)
            self._announce_restart(message)
        else:
            # Whoever is allowed later does not have run what was denied before.
            self._cursor.end(message.id, taken=decision in {Decision.ALLOW, Decision.DENY})

    def _answers(self, message: discord.Message, own_id: str, author: Author, source: MessageSource) -> bool:
        """Whether a person's reply answers a request or a question that is open, and is no prompt then."""
        replied_to = "" if message.reference is None else str(message.reference.message_id)
        shows_more = message.attachments or message.embeds or message.stickers
        if message.type is not discord.MessageType.reply or shows_more:
            return False
        text = access.without_mention(message.content, own_id, own_role_id=own_role_id(message.guild))
        prompts = next((one for one in self._prompts if one.takes(replied_to, text)), None)
        if prompts is None or not access.is_allowed(self._settings.discord, author, source):
            return False
        if self._cursor.begin(message.id):
            refusal = prompts.answer(replied_to, text, author, source)
            if refusal is not None:
                self._explain(message, source.channel_id, refusal, reply=True)
            self._cursor.end(message.id, taken=True)
        return True

    def _decide(
        self, message: discord.Message, me: discord.ClientUser, author: Author, source: MessageSource
    ) -> Decision:
        """What to do with a message, by its author, its place and whom it mentions."""
        settings, own_id = self._settings.discord, str(me.id)
        own_role = None if message.guild is None else message.guild.self_role
        mentioned = access.is_mentioned(me, message.mentions, message.role_mentions, own_role=own_role)
        decision = access.decide(settings, author, source, mentioned=mentioned, own_id=own_id)
        if not (mentioned or source.is_dm) and begins_with_another(message.content, own_id):
            decision = Decision.IGNORE
        if decision is Decision.IGNORE and access.is_source_allowed(settings, source):
            self._ignored.add(message.id)
            if message.message_snapshots:
                self._reader.saw_forward(message)
        return decision

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
        reading = await self._reader.read(message, own_id)
        unread = self._reader.nothing_to_do(reading, source)
        if unread is not None:
            if not author_of(message.author, webhook_id=message.webhook_id).is_program:
                self._explain(message, source.channel_id, unread, reply=True)
            return None
        text = partial(self._text, pending, own_id, own_role_id(message.guild))
        shows_more = bool(reading.shown.own_words or reading.shown.own_files)
        named, refusal = self._agent_named(message, source, text(names_agent=False), shows_more=shows_more)
        if refusal is not None:
            self._explain(message, source.channel_id, refusal, reply=True)
            return None
        reactions = pending.reactions = ReactionUpdater(
            self._outbox, self._settings.reactions, source.channel_id, pending.key, again=pending.missed
        )
        if self._pool.draining:
            raise Draining("cannot take a message: acpbot is about to stop or restart")
        self._restart_announced.clear()
        thread_id: str | None = source.channel_id
        title = self._reader.title(message, reading.shown, own_id)
        if named is not None:
            title = agent_choice.split(title)[1] or reading.shown.title
        if not (source.is_thread or source.is_dm):
            thread_id = await self._open_thread(message, title)
        if thread_id is None:
            reactions.on(ReactionEvent.ERROR)
            return None
        shown = await self._reader.with_past(message, reading, source, own_id)
        files = await self._reader.download(shown, thread_id)
        if pending.deleted or not (reading.has_words or shown.is_readable(files.names)):
            reactions.on(ReactionEvent.CANCELLED if pending.deleted else ReactionEvent.ERROR)
            return None
        incoming = IncomingMessage(
            thread_id=thread_id,
            text=content.defuse(text(names_agent=named is not None)),
            owner=str(message.author.id),
            by_program=message.author.bot or message.webhook_id is not None,
            key=pending.key,
            origin=source.channel_id,
            agent=named or self._next_agent(thread_id, source.channel_id, str(message.author.id)),
            channel=source.bound_id,
            title=title[:_TITLE_MAX],
            context=_context(message, shown),
            blocks=files.blocks,
            only_files=not (reading.has_words or shown.is_readable(())),
        )
        return self._submit(message, incoming, pending, reactions)

    def _submit(
        self,
        message: discord.Message,
        incoming: IncomingMessage,
        pending: PendingMessage,
        reactions: ReactionUpdater,
    ) -> int | None:
        """Give the message to the pool; its author reads why where the pool does not take it. Raises Draining."""
        asked_by, asker_id = pending.asked_by, self._messages.asker_of(incoming.thread_id)
        now = asked_by is not None and access.interrupts(
            self._settings.discord, asked_by.author, asked_by.source, asker_id
        )
        try:
            before = self._platform.conversations.receive(incoming, now=now and not pending.missed)
        except Draining:
            raise
        except (WireError, AgentError) as error:
            log.info("message_refused", thread=incoming.thread_id, message=pending.key, reason=str(error))
            is_here = incoming.origin == incoming.thread_id
            if self._explain(message, incoming.thread_id, refusal_text(error, incoming.owner), reply=is_here):
                reactions.on(ReactionEvent.ERROR)
            else:
                reactions.on(ReactionEvent.CANCELLED)
                self._outbox.deny(incoming.origin, pending.key, self._settings.reactions.emojis.error)
            return None
        self._next_agents.used(incoming.origin, incoming.owner)
        return before

    def _announce_restart(self, message: discord.Message) -> None:
        """Post, once in each channel, that messages are kept until the bot is back."""
        channel_id = str(message.channel.id)
        if channel_id not in self._restart_announced:
            self._restart_announced.add(channel_id)
            self._outbox.post(channel_id, RESTARTING, reply_to=str(message.id))

    @staticmethod
    def _text(pending: PendingMessage, own_id: str, own_role: str | None, *, names_agent: bool) -> str:
        """What the message says to the agent; without the words that name one where ``names_agent``."""
        text = access.without_mention(pending.text, own_id, own_role_id=own_role)
        return agent_choice.split(text)[1] if names_agent else text

    def _agent_named(
        self, message: discord.Message, source: MessageSource, text: str, *, shows_more: bool
    ) -> tuple[str | None, str | None]:
        """The agent that the text names, where a conversation begins with it, and why none can begin with it."""
        name, rest = agent_choice.split(text)
        if name is None or self._pool.thread(source.channel_id) is not None:
            return None, None
        if name not in self._pool.agents:
            is_program = message.author.bot or message.webhook_id is not None  # such a text may say anything
            return None, None if is_program else agent_choice.unknown_text(name, self._pool.agents)
        return name, agent_choice.nothing_asked_text(name) if is_blank(rest) and not shows_more else None

    def _next_agent(self, thread_id: str, channel_id: str, user_id: str) -> str | None:
        """The agent that the person has chosen by /agent for a conversation that begins now."""
        chosen = None if self._pool.thread(thread_id) is not None else self._next_agents.get(channel_id, user_id)
        return chosen if chosen in self._pool.agents else None

    async def _open_thread(self, message: discord.Message, title: str) -> str | None:
        """The thread for a message in a channel; ``None`` where Discord opens none: the channel gets the reason."""
        channel_id, key = str(message.channel.id), str(message.id)
        try:
            # One person's threads are opened one by one: many of them must not keep others waiting.
            async with self._locks.hold((channel_id, message.author.id)):
                thread_id = await self._threads.open(channel_id, key, title)
        except (RequestRefused, Unreachable) as error:
            missing = missing_permissions(message.channel)
            log.warning("thread_not_opened", channel=channel_id, error=str(error), missing=", ".join(missing) or "-")
            if not (isinstance(error, RequestRefused) and error.code == UNKNOWN_MESSAGE):  # else it is deleted
                self._explain(message, channel_id, not_opened_text(error, missing), reply=True)
            return None
        else:
            self._channels.add_thread(thread_id, channel_id)
            return thread_id

    def _explain(self, message: discord.Message, channel_id: str, text: str, *, reply: bool = False) -> bool:
        """Post why a message is not taken; not again and again to the same person. Return whether it is posted."""
        if not self._explanations.take(str(message.author.id), f"{channel_id} {text}"):
            return False
        self._outbox.post(channel_id, text, reply_to=str(message.id) if reply else None)
        return True

    # Edits and deletions.

    async def edited_anew(self, message: discord.Message, me: discord.ClientUser) -> None:
        """Handle a message that was not for the bot, and may be since it was edited: once, and not after a day."""
        oldest = self._outbox.rest.now() - OLDEST_SECONDS
        # An event without the member's roles can't tell whether they may use the bot.
        is_known = message.guild is None or message.author.bot or isinstance(message.author, discord.Member)
        if is_known and message.created_at.timestamp() > oldest and self._ignored.discard(message.id):
            await self.handle(message, me)

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
                rule = access.denial(self._settings.discord, author, source)
                log.info("edit_denied", user=author.id, message=pending.key, rule=rule)
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


def _context(message: discord.Message, shown: Readable) -> str:
    channel = message.channel
    name = None if isinstance(channel, discord.DMChannel) else getattr(channel, "name", None)
    return content.sender_context(
        message.author.display_name,
        str(message.author.id),
        name,
        None if message.guild is None else message.guild.name,
        message.created_at,
        is_bot=message.author.bot,
        shown=shown.data,
    )
