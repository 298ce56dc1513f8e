"""Who may click and give slash commands at all: the same people whose messages the bot answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import discord

from acpbot.chat.discord import access
from acpbot.chat.discord.access import author_of
from acpbot.chat.discord.interactions.command_text import NOT_HERE
from acpbot.chat.discord.interactions.respond import whisper
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.access import Channels, CurrentSettings

log = get_logger(__name__)

_ANSWERS: Final = 5


class InteractionGate:
    """Lets interactions of people in who may use the bot. Others get one line that only they see, five a minute.

    After that they get none: Discord itself tells them that the bot does not answer. ``clock``: monotonic seconds.
    """

    def __init__(self, settings: CurrentSettings, channels: Channels, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._channels = channels
        self._answers = access.AnswerLimit(clock, of_key=_ANSWERS)

    async def admits(self, interaction: discord.Interaction) -> bool:
        """Whether the interaction is to be handled."""
        me = interaction.client.user
        author = author_of(interaction.user)
        source = self._channels.source_of(interaction.channel, "" if me is None else str(me.id))
        rule = access.denial(self._settings.discord, author, source)
        if rule is None:
            return True
        is_typing = interaction.type is discord.InteractionType.autocomplete
        if not is_typing and self._answers.take(author.id, source.channel_id):
            log.info("interaction_denied", user=author.id, channel=source.channel_id, rule=rule)
            await whisper(interaction, NOT_HERE)
        return False
