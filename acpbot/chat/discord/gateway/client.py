"""The discord.py client: it passes each event to the part of the chat that handles it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.aio import KeyedLocks, retry
from acpbot.chat.discord import compat
from acpbot.chat.discord.interactions import menus, question_parts
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.chat.discord.gateway.presence import Presence
    from acpbot.chat.discord.gateway.supervisor import GatewayStatus, IdentifyLimiter
    from acpbot.chat.discord.inbound.backfill import Backfill
    from acpbot.chat.discord.inbound.continued import ContinueButtons
    from acpbot.chat.discord.inbound.intake import Intake
    from acpbot.chat.discord.inbound.read_cursor import ReadCursor
    from acpbot.chat.discord.interactions.commands import SlashCommands
    from acpbot.chat.discord.interactions.gate import InteractionGate
    from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
    from acpbot.chat.discord.interactions.question_prompts import QuestionPrompts
    from acpbot.chat.discord.interactions.send_now_button import SendNowButtons
    from acpbot.chat.discord.interactions.stop_button import StopButtons
    from acpbot.chat.discord.interactions.tool_output import ToolOutputs
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.threads import Threads

log = get_logger(__name__)

FETCH_SECONDS: Final = 30.0
_INTERACTIONS_MAX: Final = 1000
_NOT_VISIBLE: Final = (discord.NotFound, discord.Forbidden, discord.InvalidData)


class Bot(discord.Client):
    """One client. The supervisor makes a new one where this one has closed itself."""

    def __init__(
        self,
        *,
        dms: bool,
        status: GatewayStatus,
        identifies: IdentifyLimiter,
        cursor: ReadCursor,
        backfill: Backfill,
        intake: Intake,
        gate: InteractionGate,
        commands: SlashCommands,
        prompts: PermissionPrompts,
        questions: QuestionPrompts,
        outputs: ToolOutputs,
        stops: StopButtons,
        send_now: SendNowButtons,
        continues: ContinueButtons,
        threads: Threads,
        presence: Presence,
        outbox: Outbox,
    ) -> None:
        super().__init__(
            intents=discord.Intents(guilds=True, guild_messages=True, dm_messages=dms, message_content=True),
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            http_trace=outbox.rest.trace(),
        )
        compat.guard_events(self)
        self._status = status
        self._identifies = identifies
        self._cursor = cursor
        self._backfill = backfill
        self._intake = intake
        self._gate = gate
        self._commands = commands
        self._prompts = prompts
        self._questions = questions
        self._outputs = outputs
        self._stops = stops
        self._send_now = send_now
        self._continues = continues
        self._threads = threads
        self._presence = presence
        self._outbox = outbox
        self._arrivals = KeyedLocks()
        self._interactions: deque[int] = deque(maxlen=_INTERACTIONS_MAX)

    # The connection.

    async def setup_hook(self) -> None:
        """Logged in: REST works from now on, and nothing has come yet."""
        await self._cursor.begin_reading()
        self._outbox.rest.use(self)
        self._commands.register(self)
        self._outbox.wake_retries()

    async def close(self) -> None:
        """End it; also called by the library itself."""
        if self._outbox.rest.client is self:
            self._outbox.rest.use(None)
        await super().close()

    async def before_identify_hook(self, _shard_id: int | None, *, initial: bool = False) -> None:  # noqa: ARG002 - the library's
        """In place of the library's 5 s before every new session but a client's first."""
        await asyncio.sleep(self._identifies.reserve())

    async def on_connect(self) -> None:
        """A new session begins (``on_ready`` comes two seconds later, when no more guilds follow)."""
        if self._outbox.rest.client is self:
            self._presence.session_begins()
            self._backfill.begin(self)
            await self.on_resumed()

    async def on_resumed(self) -> None:
        """The old session goes on; what was missed follows as events."""
        if self._outbox.rest.client is self:
            self._status.set(connected=True)
            self._outbox.wake_retries()

    async def on_disconnect(self) -> None:
        """The connection is lost, or could not be made."""
        self._status.set(connected=False)

    async def on_guild_available(self, guild: discord.Guild) -> None:
        """A server that a new session begins with."""
        if self._outbox.rest.client is self:
            self._backfill.start(guild)

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Somebody has added the bot to another server."""
        await self.on_guild_available(guild)

    async def on_error(self, event_method: str, /, *_args: Any, **_kwargs: Any) -> None:
        """A handler failed. The log says so, and the next event is handled all the same."""
        fields = {"event": event_method}
        log.exception("discord_event_failed", **fields)  # noqa: LOG004 - called in the library's handler

    # Messages.

    async def on_message(self, message: discord.Message) -> None:
        """The bot or somebody else wrote."""
        me = self.user
        if me is None:
            return
        if message.author.id == me.id:
            self._cursor.saw(message.id)
            if message.nonce is not None:
                self._outbox.confirm(str(message.nonce), str(message.id))
            return
        arrived = asyncio.get_running_loop().time()
        with self._cursor.arriving(message.id):
            # In the order in which they come: one that makes a thread the bot's changes what those after it are.
            async with self._arrivals.hold(message.channel.id):
                # A thread that was just unarchived is not in the cache: what it is must be asked.
                if isinstance(message.channel, discord.PartialMessageable):
                    channel = await self._fetch(message.channel.id)
                    if channel is None:
                        return
                    message.channel = channel
                await self._backfill.may_go_on(message, arrived)
            await self._intake.handle(message, me)

    async def _fetch(self, channel_id: int) -> Any:
        """The channel, however long Discord takes to answer; ``None`` for one that the bot may not see."""

        async def fetch() -> Any:
            async with asyncio.timeout(FETCH_SECONDS):
                return await self.fetch_channel(channel_id)

        def is_temporary(error: BaseException) -> bool:
            return not isinstance(error, _NOT_VISIBLE) and not self.is_closed()

        def on_failure(error: BaseException, failures: int) -> None:
            reason = str(error) or type(error).__name__
            log.failed_try("channel_fetch_failed", failures, channel=str(channel_id), error=reason)

        try:
            return await retry(
                fetch,
                on=(Exception,),  # broad: an odd answer makes the library raise anything
                backoff=self._outbox.retries,
                should_retry=is_temporary,
                on_failure=on_failure,
            )
        except Exception as error:  # noqa: BLE001 - what is_temporary lets through: Discord's refusals, or the client is closed
            log.info("channel_not_visible", channel=str(channel_id), error=str(error))
            return None

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Somebody has edited a message, or Discord has added a link preview to it."""
        me = self.user
        if me is not None and payload.data.get("content") is not None:
            message = payload.message
            self._intake.edited(message, me)
            is_known = not isinstance(message.channel, discord.PartialMessageable)
            if is_known and message.edited_at is not None and message.author.id != me.id:
                await self._backfill.may_go_on(message, asyncio.get_running_loop().time())
                await self._intake.edited_anew(message, me)

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """Somebody has deleted a message."""
        self._intake.deleted(payload.message_id)

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """Somebody has deleted several messages at once."""
        for message_id in payload.message_ids:
            self._intake.deleted(message_id)

    # Threads and interactions.

    async def on_raw_thread_update(self, payload: discord.RawThreadUpdateEvent) -> None:
        """A thread has changed, perhaps its name."""
        name = payload.data.get("name")
        if name is not None:
            self._threads.renamed_by_somebody(str(payload.thread_id), name)

    async def on_raw_thread_delete(self, payload: discord.RawThreadDeleteEvent) -> None:
        """Somebody has deleted a thread."""
        await self._intake.thread_deleted(str(payload.thread_id))

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Somebody has pressed a button, used a menu, sent a window, given a slash command, or is typing one."""
        if interaction.id in self._interactions:
            return  # the gateway may send one twice, and it must have its effect once
        self._interactions.append(interaction.id)
        if not await self._gate.admits(interaction):
            return
        kind = discord.InteractionType
        data: Any = interaction.data or {}
        custom_id = str(data.get("custom_id"))
        if interaction.type in {kind.component, kind.modal_submit} and (part := question_parts.decode(custom_id)):
            await self._questions.on_interaction(interaction, part)
        elif interaction.type is kind.component:
            for buttons in (self._outputs, self._stops, self._send_now, self._continues):
                if await buttons.on_click(interaction):
                    return
            menu = menus.decode(custom_id)
            if menu is None:
                await self._prompts.on_click(interaction)
            else:
                await self._commands.on_menu(interaction, menu)
        elif interaction.type in {kind.application_command, kind.autocomplete}:
            await self._commands.on_command(interaction)
