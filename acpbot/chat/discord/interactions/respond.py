"""Answers to interactions (clicks, slash commands): a first word within three seconds, more within 15 minutes.

An answer that may be lost is given again, since a person is waiting for it: Discord takes a first word once and says so
(40060), and what follows takes its place.
Source: https://discord.com/developers/docs/interactions/receiving-and-responding.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.chat.discord.outbound.rest import CLOSED, NO_ANSWER
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.aio import Backoff

log = get_logger(__name__)

ACKNOWLEDGED: Final = 40060
REST_TRIES: Final = 8
SOON: Final = (0.1, 0.3, 0.6)
"""Seconds between the tries of a first word; all of them must fit into three."""

_FINAL: Final = frozenset({400, 401, 403, 404})
_SEEN_MOST: Final = 1000


class Seen:
    """Which interactions have come; of more than 1,000 the first are forgotten."""

    def __init__(self) -> None:
        self._ids: OrderedDict[int, None] = OrderedDict()

    def is_new(self, interaction: discord.Interaction) -> bool:
        """Whether it comes for the first time: the gateway may tell of one twice, and twice is not what was wanted."""
        if interaction.id in self._ids:
            return False
        self._ids[interaction.id] = None
        if len(self._ids) > _SEEN_MOST:
            self._ids.popitem(last=False)
        return True


async def answer(interaction: discord.Interaction, first: Callable[[], Awaitable[Any]]) -> bool:
    """Give the first word by ``first`` (a method of ``interaction.response``); whether Discord has it."""
    for wait in (*SOON, None):
        try:
            await first()
        except (*NO_ANSWER, CLOSED) as error:
            if isinstance(error, discord.HTTPException) and error.code == ACKNOWLEDGED:
                return True
            if wait is None or is_final(error):
                note(interaction, error)
                return False
            await asyncio.sleep(wait)
        else:
            return True
    return False


async def whisper(interaction: discord.Interaction, text: str) -> bool:
    """A first word that only the person who asked sees; whether Discord has it."""
    return await answer(interaction, lambda: interaction.response.send_message(text, ephemeral=True))


async def complete(interaction: discord.Interaction, text: str, backoff: Backoff) -> None:
    """Put the answer in the place of 'thinking'; in the log where that can't be done."""
    for failures in range(1, REST_TRIES + 1):
        try:
            await interaction.edit_original_response(content=text)
        except (*NO_ANSWER, CLOSED) as error:
            if failures == REST_TRIES or is_final(error):
                note(interaction, error)
                return
        else:
            return
        await asyncio.sleep(backoff.seconds(failures))


def is_final(error: BaseException) -> bool:
    """Whether another try could not help."""
    return isinstance(error, CLOSED) or (isinstance(error, discord.HTTPException) and error.status in _FINAL)


def note(interaction: discord.Interaction, error: BaseException) -> None:
    """Say in the log that somebody was not answered."""
    log.warning("interaction_unanswered", user=str(interaction.user.id), error=str(error) or type(error).__name__)
