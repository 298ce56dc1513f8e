"""What people wrote while there was no gateway session: read from the channels' histories, oldest first.

A resumed session repeats what was missed; a new one does not. What people write in a channel meanwhile waits until its
history is read, so that the order stays.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import discord

from acpbot.aio import TaskSet
from acpbot.chat.discord import access
from acpbot.chat.discord.access import PLATFORM
from acpbot.chat.discord.outbound.rest import CLOSED, NO_ANSWER, SERVER_ERROR, TOO_MANY
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.chat.discord.access import Channels, CurrentSettings
    from acpbot.chat.discord.inbound.intake import Intake
    from acpbot.chat.discord.inbound.read_cursor import ReadCursor
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.sessions.pool import Pool

    Unread = tuple[discord.TextChannel | discord.VoiceChannel | discord.Thread | discord.DMChannel, asyncio.Event]

log = get_logger(__name__)

_DIRECT_MESSAGES: Final = 0
"""In place of a server's id."""

_WAIT_SECONDS: Final = 30.0
_DMS_MAX: Final = 50
_READS_MAX: Final = 4
"""Histories that are read at once, at most."""


class Backfill:
    """Reads the channels' histories, each once a gateway session, and gives the messages to the intake."""

    def __init__(
        self,
        *,
        settings: CurrentSettings,
        pool: Pool,
        channels: Channels,
        outbox: Outbox,
        cursor: ReadCursor,
        intake: Intake,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._channels = channels
        self._outbox = outbox
        self._cursor = cursor
        self._intake = intake
        self._session = 0
        self._me: discord.ClientUser | None = None
        self._unread: dict[int, asyncio.Event] = {}
        """By ids of servers and channels: set once the channels of the server are known, the history of one is read."""
        self._reads = asyncio.Semaphore(_READS_MAX)
        self._tasks = TaskSet("discord backfill")

    def begin(self, client: discord.Client) -> None:
        """A new gateway session begins: nobody knows what was missed. :meth:`start` follows for each server."""
        self._session += 1
        self._me = client.user
        self._unread = {}
        for guild in client.guilds:
            self._unread[guild.id] = asyncio.Event()
        self._cursor.fall_behind(self._unread)
        if self._settings.discord.allow_dm:
            self._cursor.fall_behind([_DIRECT_MESSAGES])
            read = partial(self._read_direct_messages, client, list(self._unread.values()))
            self._tasks.keep(read, name="direct messages")

    def start(self, guild: discord.Guild) -> None:
        """Read what was missed in a server, in the background."""
        self._tasks.keep(partial(self._read_guild, guild), name=f"server {guild.id}")

    async def may_go_on(self, message: discord.Message) -> None:
        """Return once the older messages of the channel are read, or 30 s have passed: late is better than never."""
        for place in (None if message.guild is None else message.guild.id, message.channel.id):
            event = None if place is None else self._unread.get(place)
            if event is None or event.is_set():
                continue
            try:
                async with asyncio.timeout(_WAIT_SECONDS):
                    await event.wait()
            except TimeoutError:
                log.warning("backfill_slow", channel=message.channel.id)

    async def close(self) -> None:
        """Read no more."""
        await self._tasks.cancel()

    async def _read_guild(self, guild: discord.Guild) -> None:
        session, known = self._session, self._unread.get(guild.id)
        after = self._cursor.fall_behind([guild.id])
        own_id = "" if self._me is None else str(self._me.id)
        unread: list[Unread] = []
        try:
            channels: list[discord.TextChannel | discord.VoiceChannel | discord.Thread]
            channels = [*guild.text_channels, *guild.voice_channels, *guild.threads]
            for channel in channels:
                is_new = channel.last_message_id is not None and channel.last_message_id > after
                source = self._channels.source_of(channel, own_id)
                if is_new and access.is_source_allowed(self._settings.discord, source):
                    unread.append((channel, asyncio.Event()))
                    self._unread[channel.id] = unread[-1][1]
        finally:
            if known is not None:
                known.set()
        if await self._read_all(unread, after, session) and session == self._session:
            self._cursor.caught_up(guild.id)

    async def _read_direct_messages(self, client: discord.Client, guilds_known: Sequence[asyncio.Event]) -> None:
        """Read those with known people. The gateway lists none: they are the channels that no server has."""
        session = self._session
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                for known in guilds_known:
                    await known.wait()
        except TimeoutError:
            log.warning("backfill_slow", channel="direct messages")
        after, complete = self._cursor.fall_behind([_DIRECT_MESSAGES]), True
        threads = sorted(self._pool.of_platform(PLATFORM), key=lambda thread: thread.used_at)
        unknown = [int(thread.thread_id) for thread in threads if client.get_channel(int(thread.thread_id)) is None]
        unread: list[Unread] = []
        for channel_id in unknown[-_DMS_MAX:]:
            try:
                channel = await client.fetch_channel(channel_id)
            except (discord.Forbidden, discord.NotFound, discord.InvalidData):
                continue  # the bot has no access any more
            except (*NO_ANSWER, CLOSED) as error:
                log.warning("backfill_failed", channel=str(channel_id), error=str(error))
                complete = False
                continue
            if isinstance(channel, discord.DMChannel):
                unread.append((channel, asyncio.Event()))
        if await self._read_all(unread, after, session) and complete and session == self._session:
            self._cursor.caught_up(_DIRECT_MESSAGES)

    async def _read_all(self, unread: Sequence[Unread], after: int, session: int) -> bool:
        """Read these channels, none of which waits for another; whether everything is read that may be."""
        reads: list[asyncio.Task[bool]] = []
        async with asyncio.TaskGroup() as group:
            for channel, is_read in unread:
                reads.append(group.create_task(self._read_channel(channel, is_read, after, session)))
        return all(map(asyncio.Task.result, reads))

    async def _read_channel(
        self, channel: discord.abc.Messageable, is_read: asyncio.Event, after: int, session: int
    ) -> bool:
        """Handle the channel's messages after ``after``, oldest first; whether all are read that may be.

        It takes as long as Discord needs to answer. A later gateway session reads anew, but handles no message twice.
        """
        failures = 0
        try:
            while session == self._session:
                try:
                    async with self._reads:
                        async for message in channel.history(
                            limit=None, after=discord.Object(after), oldest_first=True
                        ):
                            await self._add_roles(message)
                            if session != self._session or self._me is None:
                                return False
                            await self._intake.handle(message, self._me)
                            after = message.id
                except (*NO_ANSWER, CLOSED) as error:
                    if _is_refusal(error):
                        log.info("backfill_refused", channel=str(channel), error=str(error))
                        return True
                    failures += 1
                    log.failed_try("backfill_failed", failures, channel=str(channel), error=str(error))
                    await self._outbox.retries.pause(failures)
                else:
                    return True
            return False
        finally:
            is_read.set()

    async def _add_roles(self, message: discord.Message) -> None:
        """Look up the roles of the author, where roles matter: a message of the history does not have them."""
        roles_matter = self._settings.discord.allowed_role_ids or self._settings.discord.admin_role_ids
        if message.guild is None or not roles_matter or not isinstance(message.author, discord.User):
            return
        try:
            message.author = await message.guild.fetch_member(message.author.id)
        except discord.NotFound:
            return  # they left, and have no roles any more


def _is_refusal(error: Exception) -> bool:
    """Whether Discord's answer is no, and would be again."""
    return isinstance(error, discord.HTTPException) and error.status < SERVER_ERROR and error.status != TOO_MANY
