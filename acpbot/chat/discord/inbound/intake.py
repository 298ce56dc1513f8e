"""A message's way in: gate, thread, files, and into the thread's queue; and its edits and deletion on the way."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.chat.discord import access
from acpbot.chat.discord.access import Verdict
from acpbot.chat.discord.channels import person_of
from acpbot.chat.discord.inbound import attachments, context, download
from acpbot.chat.discord.outbound.reactions import Event, ReactionUpdater
from acpbot.chat.discord.outbound.rest import FORBIDDEN, UNKNOWN_MESSAGE, Refused, Unreachable
from acpbot.chat.platform import IncomingMessage
from acpbot.chat.rendering.markdown import code
from acpbot.errors import AgentError, Draining, WireError
from acpbot.logs import get_logger
from acpbot.text import is_blank

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from acpbot.acp.schema import PromptCapabilities
    from acpbot.chat.conversation import Conversations
    from acpbot.chat.discord.access import MessageSource
    from acpbot.chat.discord.channels import Channels
    from acpbot.chat.discord.inbound.read_cursor import ReadCursor
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.threads import Threads
    from acpbot.chat.discord.turn_view import DiscordTurnView
    from acpbot.config.settings import DiscordSettings, ReactionSettings
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

DENIED: Final = "🚫"

_PROMPTS: Final = frozenset({discord.MessageType.default, discord.MessageType.reply})
_EMPTY: Final = "Tell me in the same message what you want done."


class Arrival:
    """A message that is being taken; an edit or a deletion meanwhile is noted here."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.deleted = False


class Intake:
    """Takes messages. ``waiting`` are the surfaces whose turns have not begun, by the id of their message."""

    def __init__(
        self,
        *,
        settings: DiscordSettings,
        reactions: ReactionSettings,
        pool: Pool,
        conversations: Conversations,
        outbox: Outbox,
        threads: Threads,
        places: Channels,
        reading: ReadCursor,
    ) -> None:
        self._settings = settings
        self._reaction_settings = reactions
        self._pool = pool
        self._conversations = conversations
        self._outbox = outbox
        self._threads = threads
        self._places = places
        self._reading = reading
        self._bot_turns = access.BotTurns(settings.max_bot_turns)
        self._arriving: dict[str, Arrival] = {}
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self.marks: dict[str, ReactionUpdater] = {}
        """The reactions of messages that are about to become turns, by message id."""
        self.waiting: dict[str, DiscordTurnView] = {}

    def reconfigure(self, settings: DiscordSettings, reactions: ReactionSettings) -> None:
        """Hold to other settings from now on; messages that have been taken keep theirs."""
        self._settings, self._reaction_settings = settings, reactions
        self._bot_turns.limit = settings.max_bot_turns

    # Messages.

    async def take(self, message: discord.Message, me: discord.ClientUser) -> None:
        """Look at a message, and queue it where it is for us."""
        if message.type not in _PROMPTS:
            return
        own_id = str(me.id)
        if message.author.bot and str(message.author.id) != own_id:
            self._places.bot_wrote(str(message.channel.id))
        place = self._places.place_of(message.channel, own_id)
        person = person_of(message.author, webhook_id=message.webhook_id)
        verdict = access.admits(self._settings, person, place, mentioned=self._mentions(message, own_id), own_id=own_id)
        if verdict is Verdict.ALLOW and not self._reading.begin(message.id):
            return
        if verdict is Verdict.ALLOW and person.automatic:
            verdict = self._bot_turns.take(place.channel_id)
        elif not person.automatic and access.may_use(self._settings, person, place):
            self._bot_turns.person_wrote(place.channel_id)
        if verdict is Verdict.DENY:
            log.info("message_denied", user=person.id, channel=place.channel_id)
            self._outbox.react(place.channel_id, str(message.id), DENIED, add=True)
        try:
            taken = verdict is Verdict.ALLOW and await self._admit(message, place, own_id)
        except Draining:
            # The daemon's next life finds it again, or this one, if it goes on after all.
            self._reading.hold(message.id)
        else:
            self._reading.end(message.id, taken=taken)

    def _mentions(self, message: discord.Message, own_id: str) -> bool:
        users = {str(user.id) for user in message.mentions}
        roles = {str(role.id) for role in message.role_mentions}
        return access.is_mentioned(own_id, users, roles, own_role_id=_own_role(message.guild))

    async def _admit(self, message: discord.Message, place: MessageSource, own_id: str) -> bool:
        """Queue it, or say why not; always true. Raises Draining."""
        key = str(message.id)
        arrival = self._arriving[key] = Arrival(message.content)
        # In a thread the order of the messages is the order of the turns, however long a file takes to come.
        turn = place.channel_id if place.is_thread or place.is_dm else key
        try:
            async with self._in_order(turn):
                await self._queue(message, place, own_id, arrival)
        except Draining:
            raise
        except Exception:
            # A message that can't be taken is told to be lost, and costs nobody else theirs.
            log.exception("message_lost", message=key, channel=place.channel_id)
            self._outbox.post(place.channel_id, "I could not take this message: internal error, see the log.")
        finally:
            self._arriving.pop(key, None)
        return True

    @contextlib.asynccontextmanager
    async def _in_order(self, key: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1

    async def _queue(self, message: discord.Message, place: MessageSource, own_id: str, arrival: Arrival) -> None:
        key, own_role = str(message.id), _own_role(message.guild)
        text = access.without_mention(arrival.text, own_id, own_role_id=own_role)
        files = _files(message)
        if is_blank(text) and not files:
            self._outbox.post(place.channel_id, _EMPTY, reply_to=key)
            return
        marks = ReactionUpdater(self._outbox, self._reaction_settings, place.channel_id, key)
        if self._pool.draining:
            raise Draining("cannot take a message: acpbot is about to stop or restart")
        thread_id = place.channel_id
        if not (place.is_thread or place.is_dm):
            opened = await self._open(message, own_id, marks)
            if opened is None:
                return
            thread_id = opened
            self._places.opened(thread_id, place.channel_id)
        session = self._pool.get(thread_id)
        agent = None if session is None else session.agent
        capabilities = None if agent is None or agent.info is None else agent.capabilities.prompt_capabilities
        blocks = await self._download(thread_id, files, capabilities)
        if arrival.deleted:
            marks.on(Event.CANCELLED)
            return
        text = access.without_mention(arrival.text, own_id, own_role_id=own_role)
        incoming = IncomingMessage(
            thread_id=thread_id,
            text=context.defuse(text),
            owner=str(message.author.id),
            key=key,
            origin=place.channel_id,
            context=_context(message),
            blocks=blocks,
        )
        self.marks[key] = marks
        try:
            before = self._conversations.receive(incoming)
        except Draining:
            raise
        except (WireError, AgentError) as error:
            marks.on(Event.ERROR)
            self._outbox.post(thread_id, f"{error}.")
        else:
            if before and (surface := self.waiting.get(key)) is not None:
                surface.show_queued(before)
        finally:
            self.marks.pop(key, None)

    async def _open(self, message: discord.Message, own_id: str, marks: ReactionUpdater) -> str | None:
        """The thread for a message in a channel; ``None`` where there can't be one, and the channel is told why."""
        title = access.without_mention(_readable(message), own_id)
        channel_id, key = str(message.channel.id), str(message.id)
        try:
            return await self._threads.open(channel_id, key, title)
        except Refused as error:
            words = None if error.code == UNKNOWN_MESSAGE else f"I cannot open a thread here ({error}). {_why(error)}"
        except Unreachable as error:
            words = f"I cannot open a thread here: Discord does not answer ({error}). Try again in a moment."
        log.warning("thread_not_opened", channel=channel_id, reason=words or "it is deleted")
        marks.on(Event.ERROR)
        if words is not None:
            self._outbox.post(channel_id, words, reply_to=key)
        return None

    async def _download(
        self, thread_id: str, files: list[discord.Attachment], capabilities: PromptCapabilities | None
    ) -> list[dict[str, Any]]:
        """The files as content blocks; the thread is told what is left out."""
        told = [
            attachments.Attachment(filename=file.filename, content_type=file.content_type, size=file.size, url=file.url)
            for file in files
        ]
        most = self._settings.max_attachment_bytes
        plan = attachments.plan(told, capabilities, most)
        blocks: list[dict[str, Any]] = []
        notes = list(plan.refused)
        for wanted in plan.accept:
            try:
                async with asyncio.timeout(download.SECONDS):
                    data = await download.fetch(wanted.url, most, self._outbox.retries.pause)
            except (download.NotFetched, TimeoutError) as error:
                reason = str(error) or f"it took more than {download.SECONDS:.0f} s"
                notes.append(f"I did not pass on {code(wanted.filename)}: it could not be downloaded ({reason}).")
                continue
            taken = attachments.blocks(wanted.filename, data, capabilities, most)
            blocks += taken.blocks
            notes += taken.notes
        if notes:
            self._outbox.post(thread_id, "\n".join(notes)[:2000])
        return blocks

    def adapt_blocks(
        self, thread_id: str, blocks: list[dict[str, Any]], capabilities: PromptCapabilities
    ) -> list[dict[str, Any]]:
        """The prompt's blocks as far as the agent takes them; the thread is told what is left out."""
        taken = attachments.fit(blocks, capabilities)
        if taken.notes:
            self._outbox.post(thread_id, "\n".join(taken.notes)[:2000])
        return taken.blocks

    # Edits and deletions.

    def edited(self, message: discord.Message, me: discord.ClientUser) -> None:
        """Replace the text of a message that has not become a running turn yet."""
        key = str(message.id)
        arrival = self._arriving.get(key)
        if arrival is None and key not in self.waiting:
            return
        if not self._still_heard(message, str(me.id)):
            log.info("edit_denied", user=str(message.author.id), message=key)
        elif arrival is not None:
            arrival.text = message.content
        else:
            self.says(key, message.content, me, message.guild)

    def says(self, key: str, content: str, me: discord.ClientUser, guild: discord.Guild | None) -> None:
        """A message that has not become a running turn yet is found to say this."""
        surface = self.waiting.get(key)
        text = access.without_mention(content, str(me.id), own_role_id=_own_role(guild))
        if surface is None or not text or context.defuse(text) == surface.incoming.text:
            return
        revised = self._conversations.revise(surface.incoming, context.defuse(text))
        if revised is not None:
            surface.incoming = revised

    def _still_heard(self, message: discord.Message, own_id: str) -> bool:
        """Whether the gate would let it in today; an event without the member's roles tells nothing new of them."""
        if not isinstance(message.author, discord.Member):
            return True
        person = person_of(message.author, webhook_id=message.webhook_id)
        place = self._places.place_of(message.channel, own_id)
        return access.admits(self._settings, person, place, mentioned=True, own_id=own_id) is Verdict.ALLOW

    def deleted(self, message_id: str) -> None:
        """Take a message back that has not become a running turn yet."""
        if (arrival := self._arriving.get(message_id)) is not None:
            arrival.deleted = True
        surface = self.waiting.get(message_id)
        session = None if surface is None else self._pool.get(surface.thread_id)
        if session is not None:
            session.turns.withdraw(message_id)


def _why(error: Refused) -> str:
    """What can be done about a thread that Discord does not want to open."""
    if error.status == FORBIDDEN:
        return "I need the permissions View Channel, Send Messages in Threads and Create Public Threads."
    return "Mention me in a text channel, or in a thread."


def _own_role(guild: discord.Guild | None) -> str | None:
    """The role that Discord made for the bot in this guild."""
    role = None if guild is None else guild.self_role
    return None if role is None else str(role.id)


def _files(message: discord.Message) -> list[discord.Attachment]:
    forwarded: Iterable[discord.Attachment] = (
        file for snapshot in message.message_snapshots for file in snapshot.attachments
    )
    return [*message.attachments, *forwarded]


def _readable(message: discord.Message) -> str:
    """The text with names in place of mentions, as people see it, for the thread's title; our own stay as they are."""
    text = message.content
    for user in message.mentions:
        if user.id != message.author.id and not user.bot:
            text = text.replace(f"<@{user.id}>", f"@{user.display_name}").replace(f"<@!{user.id}>", f"@{user.name}")
    return text


def _context(message: discord.Message) -> str:
    channel = message.channel
    name = None if isinstance(channel, discord.DMChannel) else getattr(channel, "name", None)
    return context.sender_context(
        message.author.display_name,
        str(message.author.id),
        name,
        None if message.guild is None else message.guild.name,
        message.created_at,
        is_bot=message.author.bot,
    )
