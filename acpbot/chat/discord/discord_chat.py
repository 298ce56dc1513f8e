"""Discord as a chat platform: the one object that the daemon makes, in which all parts of this room meet."""

from __future__ import annotations

import asyncio
import collections
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.aio import Backoff
from acpbot.chat.conversation import Conversations
from acpbot.chat.discord import access
from acpbot.chat.discord.channels import PLATFORM, Channels, person_of
from acpbot.chat.discord.gateway.client import Bot
from acpbot.chat.discord.gateway.supervisor import SILENCE_SECONDS, GatewayStatus, IdentifyLimiter, Supervisor, point_at
from acpbot.chat.discord.inbound.backfill import Backfill
from acpbot.chat.discord.inbound.intake import Intake
from acpbot.chat.discord.inbound.read_cursor import ReadCursor
from acpbot.chat.discord.interactions import buttons
from acpbot.chat.discord.interactions.command_text import NOT_HERE
from acpbot.chat.discord.interactions.commands import PROMPT_SECONDS, Commands
from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
from acpbot.chat.discord.interactions.respond import Seen, whisper
from acpbot.chat.discord.outbound.diff_poster import DiffPoster
from acpbot.chat.discord.outbound.outbox import Outbox
from acpbot.chat.discord.outbound.reactions import ReactionUpdater, end_reactions
from acpbot.chat.discord.outbound.rest import ARCHIVED, FORBIDDEN, NOT_FOUND, Refused, Rest
from acpbot.chat.discord.outbound.threads import Threads
from acpbot.chat.discord.turn_view import LIMIT, DiscordTurnView
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.logs import get_logger
from acpbot.sessions.views import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from acpbot.acp.schema import PromptCapabilities
    from acpbot.chat.discord.outbound.rest import Throttle
    from acpbot.chat.platform import ChatFacts, IncomingMessage
    from acpbot.config.settings import Settings
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.views import Reason

log = get_logger(__name__)

FLUSH_SECONDS: Final = 1.0
"""What is still to be said when the daemon stops is given this long; the rest is said by its next life."""

LOOK_SECONDS: Final = 30.0
"""What waited over a restart runs as it was taken where Discord can't be asked for so long."""

_DELETED_MOST: Final = 200


def undelivered_words(thread_id: str, asker_id: str, error: Refused) -> str:
    """What a channel is told of an answer in one of its threads that Discord refuses there."""
    why = "it is locked" if error.code == ARCHIVED else "I need the permission Send Messages in Threads"
    return f"😱 <@{asker_id}> I could not say all of my answer in <#{thread_id}>: {why}. Mend that and ask again there."


class _Conversations(Conversations):
    """As everywhere, but a restart is told only where it interrupts something: there are too many idle threads."""

    def __init__(self, pool: Pool, chat: DiscordChat) -> None:
        super().__init__(pool, chat, new_message=self._new_discord_message)
        self._chat = chat

    def _new_discord_message(self) -> LiveMessage:
        settings = self._chat.settings
        display = "full" if settings.discord is None else settings.discord.tool_display
        return LiveMessage(limit=LIMIT, tool_display=display, tables=settings.markdown.tables)

    def session_ended(self, thread_id: str, reason: Reason, detail: str | None, *, resumable: bool) -> None:
        """Tell the thread, in words, where there is something to tell."""
        if reason != "stopped" or self._chat.was_interrupted(thread_id):
            super().session_ended(thread_id, reason, detail, resumable=resumable)


class DiscordChat:
    """Threads of Discord (ChatPort). Everything runs in the loop that called :meth:`run`.

    ``delivery`` and ``reconnect`` are the waits between tries of requests and of connections; ``patience`` and
    ``silence`` as :class:`Supervisor`'s, ``prompt`` as :class:`Commands`'; ``throttle`` keeps to the global limit.
    ``identify_seconds``: between two new sessions of the gateway.
    """

    platform = PLATFORM

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        delivery: Backoff | None = None,
        reconnect: Backoff | None = None,
        patience: float = 60.0,
        identify_seconds: float = 5.0,
        silence: float = SILENCE_SECONDS,
        prompt: float = PROMPT_SECONDS,
        throttle: Throttle | None = None,
    ) -> None:
        if settings.discord is None:
            raise ValueError("cannot make a Discord chat: the settings have no [discord]")
        self.settings = settings
        self._discord = settings.discord
        self._pool = pool
        self._link = GatewayStatus(clock)
        self._rest = Rest(throttle)
        self.outbox = Outbox(
            self._rest, delivery or Backoff(), store=pool.store, clock=clock, wall=wall, own_id=self._own_id
        )
        self._places = Channels(pool)
        self._threads = Threads(self.outbox, clock)
        self._asking = PermissionPrompts(self.outbox, self._discord)
        self._conversations = _Conversations(pool, self)
        self._reading = ReadCursor(pool.store, wall)
        self._intake = Intake(
            settings=self._discord,
            reactions=settings.reactions,
            pool=pool,
            conversations=self._conversations,
            outbox=self.outbox,
            threads=self._threads,
            places=self._places,
            reading=self._reading,
        )
        self._catch_up = Backfill(
            settings=self._discord,
            pool=pool,
            places=self._places,
            outbox=self.outbox,
            reading=self._reading,
            take=self._take,
        )
        self._commands = Commands(
            settings=self._discord, pool=pool, outbox=self.outbox, places=self._places, prompt=prompt
        )
        self._supervisor = Supervisor(
            self._make_bot,
            self._discord.bot_token,
            self._link,
            online=self._online,
            offline=lambda: self._rest.use(None),
            backoff=reconnect,
            patience=patience,
            silence=silence,
        )
        self._identifies = IdentifyLimiter(1, identify_seconds)
        self._ended: weakref.WeakValueDictionary[str, DiscordTurnView] = weakref.WeakValueDictionary()
        self._deleted: collections.deque[str] = collections.deque(maxlen=_DELETED_MOST)
        self._interrupted: set[str] = set()
        self._asides: set[asyncio.Task[None]] = set()
        self._seen = Seen()
        self._bot: Bot | None = None

    # What the daemon calls.

    def recover(self) -> None:
        """Take up what an earlier life left; what is to be said is said once Discord is there."""
        self.outbox.recover(self._pool.store.restored.posts)
        self._conversations.recover()

    async def run(self) -> None:
        """Stay connected until :meth:`close`. Raises ConfigError, and nothing else."""
        point_at(self._discord)
        await self._supervisor.run()

    def reconfigure(self, settings: Settings) -> None:
        """Hold to other settings from now on; those of the connection must be the same."""
        if settings.discord is None:
            raise ValueError("cannot reconfigure a Discord chat: the settings have no [discord]")
        self.settings, self._discord = settings, settings.discord
        self._asking.reconfigure(settings.discord)
        self._intake.reconfigure(settings.discord, settings.reactions)
        self._commands.reconfigure(settings.discord)
        self._catch_up.settings = settings.discord

    def go_on(self) -> None:
        """Turns are taken again: what people wrote meanwhile is too."""
        if self._bot is not None and self._link.connected:
            self.connected(self._bot, resumed=False)
            for guild in self._bot.guilds:
                self.guild_there(self._bot, guild)

    async def close(self) -> None:
        """Say what is still to be said, for a few seconds at most, and leave."""
        if not await self.outbox.flush(FLUSH_SECONDS if self._link.connected else 0):
            log.warning("discord_unsaid")
        await self._catch_up.close()
        for task in tuple(self._asides):
            task.cancel()
        await self._threads.close()
        await self._commands.close()
        await self.outbox.close()
        self._supervisor.close()

    def facts(self) -> ChatFacts:
        """The connection, for health."""
        return self._link.facts(self._supervisor.client)

    # ChatPort.

    def turn_view(self, incoming: IncomingMessage) -> DiscordTurnView:
        """What shows the turn of this message."""
        marks = self._intake.marks.pop(incoming.key, None)
        if marks is None:  # a message of an earlier life
            place = incoming.origin or incoming.thread_id
            marks = ReactionUpdater(self.outbox, self.settings.reactions, place, incoming.key)
        surface = DiscordTurnView(
            incoming,
            outbox=self.outbox,
            reactions=marks,
            prompts=self._asking,
            diffs=self._diffs(incoming.thread_id),
            deleted=self._deleted,
            turn_started=self.turn_started,
            turn_over=self.turn_over,
            undelivered=self.undelivered,
        )
        self._intake.waiting[incoming.key] = surface
        return surface

    def _diffs(self, thread_id: str) -> DiffPoster | None:
        return DiffPoster(self.outbox, self._pool, thread_id) if self._discord.tool_display == "full" else None

    def adapt_blocks(
        self, incoming: IncomingMessage, blocks: list[dict[str, Any]], capabilities: PromptCapabilities
    ) -> list[dict[str, Any]]:
        """The prompt's blocks as far as the agent takes them; the thread is told what is left out."""
        return self._intake.adapt_blocks(incoming.thread_id, blocks, capabilities)

    async def recheck(self, incoming: IncomingMessage) -> None:
        """Its message may have been edited or deleted while nobody was there to be told."""
        place = incoming.origin or incoming.thread_id
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                found = await self.outbox.message(place, incoming.key)
        except TimeoutError:
            log.info("message_not_looked_at", thread=incoming.thread_id, message=incoming.key)
        except Refused as error:
            if error.status == NOT_FOUND:
                self._intake.deleted(incoming.key)
        else:
            if self._bot is not None and self._bot.user is not None and found.get("edited_timestamp"):
                channel = self._bot.get_channel(int(place))
                guild = None if channel is None or isinstance(channel, discord.abc.PrivateChannel) else channel.guild
                self._intake.says(incoming.key, str(found.get("content", "")), self._bot.user, guild)

    def interrupted(self, incoming: IncomingMessage, text: str) -> None:
        """Tell the thread, and show on the message that it came to nothing."""
        self.outbox.post(incoming.thread_id, text)
        place = incoming.origin or incoming.thread_id
        aside = asyncio.create_task(end_reactions(self.outbox, self.settings.reactions, place, incoming.key))
        self._asides.add(aside)
        aside.add_done_callback(self._asides.discard)

    def notice(self, thread_id: str, text: str) -> None:
        """Tell the thread one plain sentence."""
        words = self._commands.words_for_end(thread_id) or text
        surface = self._ended.pop(thread_id, None)
        if surface is not None:
            surface.end_is_reported(words)
        self.outbox.post(thread_id, words)

    def session_changed(self, thread_id: str) -> None:
        """The agent may call its session something else now."""
        thread = self._pool.thread(thread_id)
        if thread is not None and thread.title is not None:
            self._threads.title(thread_id, thread.title)

    def was_interrupted(self, thread_id: str) -> bool:
        """Whether a turn of the thread did not come to its end because the daemon stops."""
        return thread_id in self._interrupted

    # What surfaces tell.

    def turn_started(self, surface: DiscordTurnView) -> None:
        """Its message can't be changed or taken back any more."""
        self._intake.waiting.pop(surface.incoming.key, None)
        self._interrupted.discard(surface.thread_id)

    def turn_over(self, surface: DiscordTurnView) -> None:
        """It is over: run, withdrawn, or refused."""
        self._intake.waiting.pop(surface.incoming.key, None)
        self._ended[surface.thread_id] = surface
        if self._pool.stopping and surface.end is not None and surface.end.stop_reason in {"cancelled", "error"}:
            self._interrupted.add(surface.thread_id)

    def undelivered(self, surface: DiscordTurnView, error: Refused) -> None:
        """Its thread takes nothing: the channel that it belongs to is told, unless the thread is gone."""
        log.warning("answer_undelivered", thread=surface.thread_id, user=surface.asker_id, error=str(error))
        parent = self._places.parent_of(surface.thread_id)
        if parent is not None and error.status == FORBIDDEN:
            self.outbox.post(parent, undelivered_words(surface.thread_id, surface.asker_id, error))

    # What the bot tells (Events).

    def identify_in(self) -> float:
        """Discord allows one new session in five seconds, whichever client begins it."""
        return self._identifies.take()

    def connected(self, bot: Bot, *, resumed: bool) -> None:
        """There is a gateway session; a new one does not tell what was missed."""
        if bot is self._bot:
            if not resumed:
                self._catch_up.begin(bot)
            self._link.up()
            self.outbox.wake_retries()

    def guild_there(self, bot: Bot, guild: discord.Guild) -> None:
        """A server may hold messages that were missed."""
        if bot is self._bot:
            self._catch_up.guild(guild, self._own_id())

    def disconnected(self) -> None:
        """The gateway session is lost."""
        self._link.down()

    def arriving(self, message_id: int) -> AbstractContextManager[None]:
        """Somebody else wrote; :meth:`message` comes within, if it can be seen where."""
        return self._reading.arriving(message_id)

    async def message(self, message: discord.Message) -> None:
        """This is what somebody else wrote."""
        await self._catch_up.may_go_on(None if message.guild is None else message.guild.id)
        await self._take(message)

    async def _take(self, message: discord.Message) -> None:
        if self._bot is not None and self._bot.user is not None:
            await self._intake.take(message, self._bot.user)

    def own_message(self, nonce: str | None, message_id: str) -> None:
        """A message of ours stands."""
        self._reading.saw(int(message_id))
        if nonce is not None:
            self.outbox.confirm(nonce, message_id)

    def message_edited(self, message: discord.Message) -> None:
        """A message says something else now."""
        if self._bot is not None and self._bot.user is not None:
            self._intake.edited(message, self._bot.user)

    def message_deleted(self, message_id: str) -> None:
        """A message is gone."""
        self._deleted.append(message_id)
        self._reading.gone(int(message_id))
        self._intake.deleted(message_id)

    def thread_renamed(self, thread_id: str, name: str) -> None:
        """A thread has this name now."""
        self._threads.renamed_by_somebody(thread_id, name)

    async def channel_deleted(self, channel_id: str) -> None:
        """Nobody can read what its agent says any more; out of sight alone, it stays."""
        session = self._pool.get(channel_id)
        if session is not None and session.thread.platform == PLATFORM and not await self._rest.exists(channel_id):
            log.info("thread_deleted", thread=channel_id)
            await self._pool.kill([Target(thread_id=channel_id, session_id=session.session_id)], forget=True)

    async def clicked(self, interaction: discord.Interaction, custom_id: str) -> None:
        """Somebody pressed a button."""
        pressed = buttons.decode(custom_id)
        if pressed is None or not self._seen.is_new(interaction):
            return
        person = person_of(interaction.user)
        place = self._places.place_of(interaction.channel, self._own_id())
        if not access.may_use(self._discord, person, place):
            log.info("click_denied", user=person.id, channel=place.channel_id)
            await whisper(interaction, NOT_HERE)
            return
        await self._asking.clicked(interaction, person, pressed)

    async def command(self, interaction: discord.Interaction) -> None:
        """Somebody gave a slash command, or is typing one."""
        if self._seen.is_new(interaction):
            await self._commands.asked(interaction, self._own_id())

    # Clients.

    def _make_bot(self) -> Bot:
        return Bot(self, dms=self._discord.allow_dm, trace=self._rest.trace(), backoff=self.outbox.backoff)

    def _online(self, client: discord.Client) -> None:
        if isinstance(client, Bot):
            self._bot = client
            self._rest.use(client)
            self._commands.register(client)
            self.outbox.wake_retries()

    def _own_id(self) -> str:
        user = None if self._bot is None else self._bot.user
        return "" if user is None else str(user.id)
