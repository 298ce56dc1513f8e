"""What people wrote while there was no gateway session: read from the channels' histories, oldest first.

A resumed session repeats what was missed; a new one does not. What people write in a channel meanwhile waits until its
history is read, so that the order stays. No channel waits for another, but for a thread whose first message, in its
channel, is not handled yet: that one comes first. The histories are read side by side, those first that people wrote in
last, and before them those for which a new message waits. In a thread one message is handled after the other; those of
a channel begin in their order, and each opens a thread of its own, so that none waits for the files of another.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.aio import TaskSet
from acpbot.chat.discord import access, compat
from acpbot.chat.discord.access import PLATFORM
from acpbot.chat.discord.inbound.history_progress import HistoryProgress
from acpbot.chat.discord.outbound.rest import NOT_FOUND, RequestRefused, Unreachable
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from acpbot.chat.discord.access import Channels, CurrentSettings
    from acpbot.chat.discord.inbound.intake import Intake
    from acpbot.chat.discord.inbound.read_cursor import ReadCursor
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.sessions.pool import Pool

    Channel = discord.TextChannel | discord.VoiceChannel | discord.Thread | discord.DMChannel
    Unread = tuple[Channel, HistoryProgress]

log = get_logger(__name__)

_UNLISTED: Final = 0
"""In place of a server's id: the channels that no server lists."""

_WAIT_SECONDS: Final = 30.0
_UNLISTED_MAX: Final = 50
_AT_ONCE: Final = 16
"""Messages of one channel that are handled at a time."""

_READS_MAX: Final = 32
"""Requests for histories at once, at most: each holds a connection open for as long as Discord takes to answer.

There may be as many more for channels in which a new message waits.
"""


class Places:
    """A limited number of places. Who waits for one gets it in the order of the calls, but for :meth:`hurry`.

    There are ``spare`` more places for those who hurry.
    """

    def __init__(self, free: int, spare: int = 0) -> None:
        self._free = free  # below 0: so many of the spare ones are held
        self._spare = spare
        self._waiting: OrderedDict[int, asyncio.Future[None]] = OrderedDict()

    @asynccontextmanager
    async def hold(self, key: int) -> AsyncIterator[None]:
        """Hold a place within the block; ``key`` names who waits for it."""
        if self._free > 0:
            self._free -= 1
        else:
            given = self._waiting[key] = asyncio.get_running_loop().create_future()
            try:
                await given
            except asyncio.CancelledError:
                if self._waiting.get(key) is given:
                    del self._waiting[key]
                elif given.done() and not given.cancelled():
                    self._release()
                raise
        try:
            yield
        finally:
            self._release()

    def hurry(self, key: int) -> None:
        """Who waits by this name is the next one, and gets a spare place now where there is one."""
        if key not in self._waiting:
            return
        self._waiting.move_to_end(key, last=False)
        if self._free > -self._spare:
            self._give()

    def _release(self) -> None:
        self._free += 1
        if self._free > 0:
            self._give()

    def _give(self) -> None:
        """Give a place to the next one who waits, if there is one."""
        while self._waiting:
            _, given = self._waiting.popitem(last=False)
            if not given.done():
                self._free -= 1
                given.set_result(None)
                return


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
        on_crash: Callable[[BaseException], object] = lambda _error: None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._channels = channels
        self._outbox = outbox
        self._cursor = cursor
        self._intake = intake
        self._on_crash = on_crash
        self._session = 0
        self._me: discord.ClientUser | None = None
        self._servers: dict[int, asyncio.Event] = {}
        """Set once it is known which of the server's channels have something to read: those in ``_histories``."""
        self._histories: dict[int, HistoryProgress] = {}
        self._reads = Places(_READS_MAX, _READS_MAX)
        self._members: dict[tuple[int, int], discord.Member | None] = {}
        self._tasks = TaskSet("discord backfill", self._crashed)

    def begin(self, client: discord.Client) -> None:
        """A new gateway session begins: nobody knows what was missed. :meth:`start` follows for each server."""
        self._session += 1
        self._me = client.user
        self._servers = {guild.id: asyncio.Event() for guild in client.guilds}
        self._histories = {}
        self._members = {}
        self._cursor.fall_behind(self._servers)
        self._cursor.fall_behind([_UNLISTED])
        read = partial(self._read_unlisted, client, list(self._servers.values()))
        self._tasks.keep(read, name="unlisted channels")

    def start(self, guild: discord.Guild) -> None:
        """Read what was missed in a server, in the background."""
        self._tasks.keep(partial(self._read_guild, guild), name=f"server {guild.id}")

    async def may_go_on(self, message: discord.Message, arrived: float) -> None:
        """Return once all older messages of the conversation are handled, or 30 s after this one has ``arrived``."""
        channel, until = message.channel, arrived + _WAIT_SECONDS
        known = None if message.guild is None else self._servers.get(message.guild.id)
        if known is not None and not known.is_set():
            await self._wait(known.wait(), channel.id, until)
        history = self._histories.get(channel.id)
        if history is not None and not history.is_past():
            self._reads.hurry(channel.id)
            await self._wait(history.past(), channel.id, until)
        await self._after_its_first(channel, until)

    async def _after_its_first(self, channel: discord.abc.MessageableChannel, until: float) -> None:
        """Return once the message that a thread was opened from is handled: it has the thread's id.

        It may not be, where the earlier daemon ended between opening the thread and taking the message.
        """
        if isinstance(channel, discord.Thread):
            history = self._histories.get(channel.parent_id)
            if history is not None and not history.is_past(channel.id):
                self._reads.hurry(channel.parent_id)
                await self._wait(history.past(channel.id), channel.id, until)

    @staticmethod
    async def _wait(handled: Coroutine[Any, Any, object], channel_id: int, until: float) -> None:
        """Wait no longer than ``until``, by the loop's clock: late is better than never."""
        try:
            async with asyncio.timeout_at(until):
                await handled
        except TimeoutError:
            log.warning("backfill_slow", channel=channel_id)

    async def close(self) -> None:
        """Read no more."""
        await self._tasks.cancel()

    def _crashed(self, error: BaseException) -> None:
        """Let new messages through, in an order that may be wrong: what this task should have read is missing."""
        for known in self._servers.values():
            known.set()
        for history in self._histories.values():
            history.give_up()
        self._on_crash(error)

    async def _read_guild(self, guild: discord.Guild) -> None:
        session, known = self._session, self._servers.get(guild.id)
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
                    history = self._histories[channel.id] = HistoryProgress(after)
                    unread.append((channel, history))
        finally:
            if known is not None:
                known.set()
        unread.sort(key=lambda one: getattr(one[0], "last_message_id", None) or 0, reverse=True)
        if await self._read_all(unread, after, session) and session == self._session:
            self._cursor.caught_up(guild.id)

    async def _read_unlisted(self, client: discord.Client, guilds_known: Sequence[asyncio.Event]) -> None:
        """Read the channels with conversations that the gateway does not list: archived threads, direct messages."""
        session = self._session
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                for known in guilds_known:
                    await known.wait()
        except TimeoutError:
            log.warning("backfill_slow", channel="unlisted")
        after = self._cursor.fall_behind([_UNLISTED])
        threads = sorted(self._pool.of_platform(PLATFORM), key=lambda thread: thread.used_at)
        unknown = [int(thread.thread_id) for thread in threads if client.get_channel(int(thread.thread_id)) is None]
        read = partial(self._read_unlisted_channel, client, after, session)
        async with asyncio.TaskGroup() as group:
            reads = [group.create_task(read(channel_id)) for channel_id in unknown[-_UNLISTED_MAX:]]
        if all(map(asyncio.Task.result, reads)) and session == self._session:
            self._cursor.caught_up(_UNLISTED)

    async def _read_unlisted_channel(self, client: discord.Client, after: int, session: int, channel_id: int) -> bool:
        """Read a channel that may be there although no server lists it; whether everything is read that may be."""
        try:
            async with self._reads.hold(channel_id):
                await self._outbox.rest.in_turn()
                channel = await client.fetch_channel(channel_id)
        except (discord.Forbidden, discord.NotFound, discord.InvalidData):
            return True  # the bot has no access any more
        except Exception as error:  # noqa: BLE001 - an odd answer makes the library raise anything
            log.warning("backfill_failed", channel=str(channel_id), error=str(error) or type(error).__name__)
            return False
        if not isinstance(channel, discord.DMChannel | discord.Thread):
            return True
        source = self._channels.source_of(channel, "" if self._me is None else str(self._me.id))
        is_read = isinstance(channel, discord.Thread) and (channel.last_message_id or 0) <= after
        if is_read or not access.is_source_allowed(self._settings.discord, source):
            return True
        history = self._histories[channel.id] = HistoryProgress(after)
        return await self._read_channel(channel, history, after, session)

    async def _read_all(self, unread: Sequence[Unread], after: int, session: int) -> bool:
        """Read these channels, none of which waits for another; whether everything is read that may be."""
        reads: list[asyncio.Task[bool]] = []
        async with asyncio.TaskGroup() as group:
            for channel, history in unread:
                reads.append(group.create_task(self._read_channel(channel, history, after, session)))
        return all(map(asyncio.Task.result, reads))

    async def _read_channel(self, channel: Channel, history: HistoryProgress, after: int, session: int) -> bool:
        """Handle the channel's messages after ``after``, oldest first; whether all are read that may be.

        It takes as long as Discord needs to answer. A later gateway session reads anew, but handles no message twice.
        """
        in_order = isinstance(channel, discord.Thread | discord.DMChannel)
        places = asyncio.Semaphore(1 if in_order else _AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                handle = partial(self._handle, group, places, history, session)
                is_read = await self._read_pages(channel, after, session, handle)
                if not in_order:
                    history.end()
        finally:
            history.end()
        return is_read and session == self._session

    async def _read_pages(
        self, channel: Channel, after: int, session: int, handle: Callable[[discord.Message], Coroutine[Any, Any, None]]
    ) -> bool:
        failures = 0
        while session == self._session and self._me is not None:
            try:
                async with self._reads.hold(channel.id):
                    page = await self._outbox.rest.page_after(str(channel.id), str(after), urgent=False)
                for data in page.messages:
                    await self._after_its_first(channel, asyncio.get_running_loop().time() + _WAIT_SECONDS)
                    message = await self._message_of(channel, data)
                    if session != self._session:
                        return False
                    if message is not None:
                        await handle(message)
                    after = int(data["id"])
            except RequestRefused as error:
                log.info("backfill_refused", channel=str(channel), error=str(error))
                return True
            except Unreachable as error:
                failures += 1
                log.failed_try("backfill_failed", failures, channel=str(channel), error=str(error))
                await self._outbox.retries.pause(failures)
            else:
                failures = 0
                if page.is_last:
                    return True
        return False

    async def _message_of(self, channel: Channel, data: dict[str, Any]) -> discord.Message | None:
        """A message of a history, with its author's roles; ``None`` for one that can't be read.

        Raises RequestRefused, Unreachable: the roles are not known.
        """
        try:
            message = compat.message_of(channel, data)
            await self._add_roles(message)
        except (RequestRefused, Unreachable):
            raise
        except Exception:
            # Broad, because an odd message must not hide those after it.
            log.exception("missed_message_lost", message=str(data["id"]), channel=str(channel.id))
            return None
        return message

    async def _handle(
        self,
        group: asyncio.TaskGroup,
        places: asyncio.Semaphore,
        history: HistoryProgress,
        session: int,
        message: discord.Message,
    ) -> None:
        """Begin to handle one message of a history, once there is a place."""
        await places.acquire()
        history.begin(message.id)

        async def handle() -> None:
            try:
                if session == self._session and self._me is not None:
                    await self._intake.handle(message, self._me, missed=True)
            except Exception:
                # Broad, because an odd message must not hide those after it.
                log.exception("missed_message_lost", message=str(message.id), channel=str(message.channel.id))
            finally:
                places.release()
                history.finish(message.id)

        group.create_task(handle())

    async def _add_roles(self, message: discord.Message) -> None:
        """Look up the roles of the author, where roles matter: a message of the history does not have them."""
        settings, guild = self._settings.discord, message.guild
        if guild is None or not isinstance(message.author, discord.User):
            return
        source = self._channels.source_of(message.channel, "")
        if not (settings.admin_role_ids or access.roles_matter(settings, source)):
            return
        key = guild.id, message.author.id
        if key not in self._members:
            try:
                found = await self._outbox.rest.member(str(guild.id), str(message.author.id))
            except RequestRefused as error:
                if error.status != NOT_FOUND:
                    raise
                self._members[key] = None  # they left, and have no roles any more
            else:
                self._members[key] = compat.member_of(guild, found)
        message.author = self._members[key] or message.author
