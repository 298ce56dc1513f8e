"""What people wrote while there was no gateway session: found in the channels' histories, and taken in order.

A resumed session tells what was missed by itself; a new one does not. Until a server was caught up with, what is
written there now waits, so that the order stays.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.chat.discord import access
from acpbot.chat.discord.channels import PLATFORM
from acpbot.chat.discord.outbound.rest import CLOSED, NO_ANSWER, SERVER_ERROR, TOO_MANY
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.chat.discord.channels import Channels
    from acpbot.chat.discord.inbound.read_cursor import ReadCursor
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.config.settings import DiscordSettings
    from acpbot.sessions.pool import Pool

    _Written = discord.TextChannel | discord.VoiceChannel | discord.Thread
    Take = Callable[[discord.Message], Awaitable[None]]

log = get_logger(__name__)

_DIRECT: Final = 0
_WAIT_SECONDS: Final = 30.0
_DMS_MOST: Final = 50


class Backfill:
    """Looks through the servers' channels, each once a gateway session. ``take`` is given each message."""

    def __init__(
        self,
        *,
        settings: DiscordSettings,
        pool: Pool,
        places: Channels,
        outbox: Outbox,
        reading: ReadCursor,
        take: Take,
    ) -> None:
        self.settings = settings
        self._pool = pool
        self._places = places
        self._outbox = outbox
        self._reading = reading
        self._take = take
        self._session = 0
        self._gates: dict[int, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, client: discord.Client) -> None:
        """There is a new gateway session: it is not known what was missed. Each server follows by :meth:`guild`."""
        self._session += 1
        self._gates = {guild.id: asyncio.Event() for guild in client.guilds}
        self._reading.fall_behind(self._gates)
        if self.settings.allow_dm:
            self._reading.fall_behind([_DIRECT])
            self._start(self._direct_messages(client, tuple(self._gates)), "discord catch up with direct messages")

    async def may_go_on(self, guild_id: int | None) -> None:
        """Return once the server was caught up with, or it takes too long: late is better than never."""
        event = None if guild_id is None else self._gates.get(guild_id)
        if event is None or event.is_set():
            return
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await event.wait()
        except TimeoutError:
            log.warning("catch_up_slow", guild=guild_id)

    def guild(self, guild: discord.Guild, own_id: str) -> None:
        """Look through a server, in the background."""
        self._start(self._guild(guild, own_id), f"discord catch up {guild.id}")

    def _start(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Look no further."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _guild(self, guild: discord.Guild, own_id: str) -> None:
        session, gate_of_guild = self._session, self._gates.get(guild.id)
        after = self._reading.fall_behind([guild.id])
        channels: list[_Written] = [*guild.text_channels, *guild.voice_channels, *guild.threads]
        found = True
        try:
            for channel in channels:
                new = channel.last_message_id is not None and channel.last_message_id > after
                if new and access.place_allowed(self.settings, self._places.place_of(channel, own_id)):
                    found &= await self._channel(channel, after, session)
        finally:
            if gate_of_guild is not None:
                gate_of_guild.set()
        if found and session == self._session:
            self._reading.caught_up(guild.id)

    async def _direct_messages(self, client: discord.Client, guild_ids: tuple[int, ...]) -> None:
        """Look through those of known people: the bot is not told which there are, but by what no server has."""
        session = self._session
        for guild_id in guild_ids:
            await self.may_go_on(guild_id)
        after, found = self._reading.fall_behind([_DIRECT]), True
        known = sorted(self._pool.of_platform(PLATFORM), key=lambda thread: thread.used_at)
        unknown = [int(thread.thread_id) for thread in known if client.get_channel(int(thread.thread_id)) is None]
        for channel_id in unknown[-_DMS_MOST:]:
            try:
                channel = await client.fetch_channel(channel_id)
            except (discord.Forbidden, discord.NotFound, discord.InvalidData):
                continue  # nobody's any more
            except (*NO_ANSWER, CLOSED) as error:
                log.warning("catch_up_failed", channel=str(channel_id), error=str(error))
                found = False
                continue
            if isinstance(channel, discord.DMChannel):
                found &= await self._channel(channel, after, session)
        if found and session == self._session:
            self._reading.caught_up(_DIRECT)

    async def _channel(self, channel: discord.abc.Messageable, after: int, session: int) -> bool:
        """Take the channel's messages after that one, oldest first; whether all could be seen that may be.

        It takes as long as Discord does to answer, but a later gateway session looks anew, and at nothing twice.
        """
        failures = 0
        while session == self._session:
            try:
                async for message in channel.history(limit=None, after=discord.Object(after), oldest_first=True):
                    await self._with_roles(message)
                    if session != self._session:
                        return False
                    await self._take(message)
                    after = message.id
            except (*NO_ANSWER, CLOSED) as error:
                if _is_refusal(error):
                    log.info("catch_up_refused", channel=str(channel), error=str(error))
                    return True
                failures += 1
                log.failed_try("catch_up_failed", failures, channel=str(channel), error=str(error))
                await self._outbox.retries.pause(failures)
                continue
            return True
        return False

    async def _with_roles(self, message: discord.Message) -> None:
        """A message out of the history does not say what roles its author has, where those matter."""
        roles_matter = self.settings.allowed_role_ids or self.settings.admin_role_ids
        if message.guild is None or not roles_matter or not isinstance(message.author, discord.User):
            return
        try:
            message.author = await message.guild.fetch_member(message.author.id)
        except discord.NotFound:
            return  # they left, and have no roles any more


def _is_refusal(error: Exception) -> bool:
    """Whether Discord's answer is no, and would be again."""
    return isinstance(error, discord.HTTPException) and error.status < SERVER_ERROR and error.status != TOO_MANY
