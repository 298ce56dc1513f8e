"""A press of 'Continue' below an answer that a limit has cut: the person's prompt 'continue'.

The response to the press is a message that says who has pressed; it stands for the one that the person did not write,
so reactions go onto it, and to delete it while the turn waits takes the turn back.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.chat.discord.access import author_of
from acpbot.chat.discord.discord_platform import PendingMessage
from acpbot.chat.discord.inbound import content
from acpbot.chat.discord.inbound.recheck import AskedBy
from acpbot.chat.discord.inbound.refusal_text import refusal_text
from acpbot.chat.discord.interactions.continue_button import CUSTOM_ID, PROMPT
from acpbot.chat.discord.interactions.respond import log_unanswered, respond, whisper
from acpbot.chat.discord.outbound.reactions import ReactionEvent, ReactionUpdater
from acpbot.chat.discord.outbound.rest import CLOSED, NO_ANSWER
from acpbot.chat.platform import IncomingMessage
from acpbot.errors import AgentError, WireError
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.chat.discord.access import Channels, CurrentSettings, MessageSource
    from acpbot.chat.discord.discord_platform import DiscordPlatform, PendingMessages
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

ALREADY: Final = "Somebody already pressed this."
RESTARTING: Final = "I'm restarting. Press again once I'm back."
FORGOTTEN: Final = "This conversation was reset, so there's nothing to continue."
_PRESSED_MOST: Final = 1000


class ContinueButtons:
    """Makes turns of presses. The gate has let the person in."""

    def __init__(
        self,
        *,
        settings: CurrentSettings,
        pool: Pool,
        platform: DiscordPlatform,
        messages: PendingMessages,
        channels: Channels,
        outbox: Outbox,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._platform = platform
        self._messages = messages
        self._channels = channels
        self._outbox = outbox
        self._pressed: OrderedDict[int, None] = OrderedDict()  # ids of the messages whose button was pressed

    async def on_click(self, interaction: discord.Interaction) -> bool:
        """Queue the person's turn, where the click is on such a button; whether it is."""
        data: Any = interaction.data or {}
        message = interaction.message
        if data.get("custom_id") != CUSTOM_ID or message is None:
            return False
        me = interaction.client.user
        source = self._channels.source_of(interaction.channel, "" if me is None else str(me.id))
        if self._pool.draining:
            await whisper(interaction, RESTARTING)
        elif message.id <= self._channels.begun_anew(source.channel_id) or self._pool.thread(source.channel_id) is None:
            await whisper(interaction, FORGOTTEN)
            self._remove(message)
        elif message.id in self._pressed:
            await whisper(interaction, ALREADY)
        else:
            self._pressed[message.id] = None
            if len(self._pressed) > _PRESSED_MOST:
                self._pressed.popitem(last=False)
            key = await _announced(interaction)
            if key is None:
                self._pressed.pop(message.id, None)
            else:
                self._remove(message)
                self._submit(interaction, source, key)
        return True

    def _remove(self, message: discord.Message) -> None:
        """Take the button off the message; others stay."""
        self._outbox.queue(str(message.channel.id)).show_buttons(str(message.id), _rows_without(message))

    def _submit(self, interaction: discord.Interaction, source: MessageSource, key: str) -> None:
        """Give the prompt to the pool, or say why not; ``key`` is the message that stands for the prompt."""
        user, channel_id = interaction.user, source.channel_id
        pending = self._messages.by_key[key] = PendingMessage(key, PROMPT)
        pending.asked_by = AskedBy(author_of(user), source)
        reactions = pending.reactions = ReactionUpdater(self._outbox, self._settings.reactions, channel_id, key)
        guild, channel = interaction.guild, interaction.channel
        incoming = IncomingMessage(
            thread_id=channel_id,
            text=PROMPT,
            owner=str(user.id),
            key=key,
            origin=channel_id,
            channel=source.bound_id,
            context=content.sender_context(
                user.display_name,
                str(user.id),
                None if source.is_dm else getattr(channel, "name", None),
                None if guild is None else guild.name,
                interaction.created_at,
            ),
        )
        log.info("answer_continued", user=incoming.owner, thread=channel_id)
        try:
            pending.asked_by.waited = bool(self._platform.conversations.receive(incoming))
        except (WireError, AgentError) as error:
            self._messages.discard(pending)
            reactions.on(ReactionEvent.ERROR)
            self._outbox.post(channel_id, refusal_text(error, incoming.owner), reply_to=key)


async def _announced(interaction: discord.Interaction) -> str | None:
    """Post who has pressed, as the response; the message's id, or ``None`` where Discord does not take it."""
    text = f"▶️ {interaction.user.mention}: {PROMPT}"
    nobody = discord.AllowedMentions.none()
    sent: list[int | None] = []

    async def send() -> None:
        sent.append((await interaction.response.send_message(text, allowed_mentions=nobody)).message_id)

    if not await respond(interaction, send):
        return None
    if sent and sent[-1] is not None:
        return str(sent[-1])
    try:  # an earlier try had its effect, and its answer was lost
        return str((await interaction.original_response()).id)
    except (*NO_ANSWER, CLOSED) as error:
        log_unanswered(interaction, error)
        return None


def _rows_without(message: discord.Message) -> list[dict[str, Any]]:
    """The rows of a message's buttons without this one."""
    rows: list[dict[str, Any]] = []
    for row in message.components:
        if isinstance(row, discord.ActionRow):
            kept = [one.to_dict() for one in row.children if one.custom_id != CUSTOM_ID]
            if kept:
                rows.append({"type": row.type.value, "components": kept})
    return rows
