"""The discord.py client: events in, handed on; nothing is decided here, and nothing a person does can end it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import discord

from acpbot.chat.discord.outbound.rest import CLOSED, NO_ANSWER
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import aiohttp

    from acpbot.aio import Backoff

log = get_logger(__name__)

FIND_SECONDS: Final = 30.0

# No voice is wanted: nothing to warn of.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False


class Events(Protocol):
    """Who is told of what happens in Discord."""

    def identify_in(self) -> float:
        """In how many seconds a new session may be begun; it will be."""

    def connected(self, bot: Bot, *, resumed: bool) -> None:
        """There is a gateway session: a new one, or the old one again."""

    def guild_there(self, bot: Bot, guild: discord.Guild) -> None:
        """A server and its channels are known, after a new session began, or because the bot was let in."""

    def disconnected(self) -> None:
        """The gateway session is lost."""

    def arriving(self, message_id: int) -> AbstractContextManager[None]:
        """Somebody else wrote; :meth:`message` comes within, if it can be seen where."""

    async def message(self, message: discord.Message) -> None:
        """This is what somebody else wrote."""

    def own_message(self, nonce: str | None, message_id: str) -> None:
        """A message of ours stands."""

    def message_edited(self, message: discord.Message) -> None:
        """A message says something else now."""

    def message_deleted(self, message_id: str) -> None:
        """A message is gone."""

    def thread_renamed(self, thread_id: str, name: str) -> None:
        """A thread has this name now."""

    async def channel_deleted(self, channel_id: str) -> None:
        """A thread or channel is gone."""

    async def clicked(self, interaction: discord.Interaction, custom_id: str) -> None:
        """Somebody pressed a button."""

    async def command(self, interaction: discord.Interaction) -> None:
        """Somebody gave a slash command, or is typing one."""


class Bot(discord.Client):
    """One client; a new one is made where it has closed itself."""

    def __init__(self, events: Events, *, dms: bool, trace: aiohttp.TraceConfig, backoff: Backoff) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=dms, message_content=True)
        super().__init__(
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            http_trace=trace,
        )
        self._events = events
        self._backoff = backoff
        self._finding = asyncio.Lock()

    # The gateway.

    async def before_identify_hook(self, _shard_id: int | None, *, initial: bool = False) -> None:  # noqa: ARG002 - the library's
        """In place of the library's 5 s before every new session but a client's first."""
        await asyncio.sleep(self._events.identify_in())

    async def on_connect(self) -> None:
        """A new session (``on_ready`` would come two seconds later, when no more guilds are told)."""
        self._events.connected(self, resumed=False)

    async def on_guild_available(self, guild: discord.Guild) -> None:
        """One of those that a new session begins with."""
        self._events.guild_there(self, guild)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Another one."""
        self._events.guild_there(self, guild)

    async def on_resumed(self) -> None:
        """The old one again; what was missed follows as events."""
        self._events.connected(self, resumed=True)

    async def on_disconnect(self) -> None:
        """Lost, or not to be had."""
        self._events.disconnected()

    async def on_error(self, event_method: str, /, *_args: Any, **_kwargs: Any) -> None:
        """A handler failed: the log must say so, and the next event is handled all the same."""
        fields = {"event": event_method}
        log.exception("discord_event_failed", **fields)  # noqa: LOG004 - called in the library's handler

    # Messages.

    async def on_message(self, message: discord.Message) -> None:
        """Ours or somebody's."""
        if self.user is not None and message.author.id == self.user.id:
            self._events.own_message(None if message.nonce is None else str(message.nonce), str(message.id))
            return
        with self._events.arriving(message.id):
            if isinstance(message.channel, discord.PartialMessageable):  # not in the cache: such as a thread just woken
                async with self._finding:  # one after the other, so that a thread's messages stay in order
                    channel = await self._found(message.channel.id)
                if channel is None:
                    return
                message.channel = channel
            await self._events.message(message)

    async def _found(self, channel_id: int) -> Any:
        """The channel, however long it takes to get an answer; ``None`` for one that the bot may not see."""
        failures = 0
        while True:
            try:
                async with asyncio.timeout(FIND_SECONDS):
                    return await self.fetch_channel(channel_id)
            except (discord.NotFound, discord.Forbidden, discord.InvalidData) as error:
                log.info("channel_not_seen", channel=str(channel_id), error=str(error))
                return None
            except (*NO_ANSWER, CLOSED) as error:
                if self.is_closed():
                    return None
                failures += 1
                log.warning(
                    "channel_not_found_yet",
                    channel=str(channel_id),
                    error=str(error) or type(error).__name__,
                    failures=failures,
                )
            await asyncio.sleep(self._backoff.seconds(failures))

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """An edit, or a link preview that was added."""
        if "content" in payload.data:
            self._events.message_edited(payload.message)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """One is gone."""
        self._events.message_deleted(str(payload.message_id))

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """Several at once."""
        for message_id in payload.message_ids:
            self._events.message_deleted(str(message_id))

    # Threads and channels.

    async def on_raw_thread_update(self, payload: discord.RawThreadUpdateEvent) -> None:
        """A name, perhaps."""
        name = payload.data.get("name")
        if name is not None:
            self._events.thread_renamed(str(payload.thread_id), name)

    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        """A thread is gone."""
        await self._events.channel_deleted(str(payload.thread_id))

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """A click or a slash command."""
        kind = discord.InteractionType
        if interaction.type is kind.component:
            data: Any = interaction.data or {}
            custom_id = data.get("custom_id")
            if isinstance(custom_id, str):
                await self._events.clicked(interaction, custom_id)
        elif interaction.type in {kind.application_command, kind.autocomplete}:
            await self._events.command(interaction)
