"""Responses to interactions (clicks, slash commands): the first within three seconds, more within 15 minutes.

A response that may be lost is sent again, since a person waits for it. Discord takes one first response, and answers
40060 to another; what follows replaces it.
Source: https://discord.com/developers/docs/interactions/receiving-and-responding.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.aio import retry
from acpbot.chat.discord.outbound.rest import CLOSED, NO_ANSWER
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.aio import Backoff, WakeableBackoff

log = get_logger(__name__)

ACKNOWLEDGED: Final = 40060
REST_TRIES: Final = 8
SOON: Final = (0.1, 0.3, 0.6)
"""Seconds between the tries of a first response; all of them must fit into three."""

_FINAL: Final = frozenset({400, 401, 403, 404})


async def respond(interaction: discord.Interaction, send: Callable[[], Awaitable[Any]]) -> bool:
    """Give the first response by ``send`` (a method of ``interaction.response``); whether Discord has it."""
    for wait in (*SOON, None):
        try:
            await send()
        except (*NO_ANSWER, CLOSED) as error:
            if isinstance(error, discord.HTTPException) and error.code == ACKNOWLEDGED:
                return True
            if wait is None or _is_final(error):
                log_unanswered(interaction, error)
                return False
            await asyncio.sleep(wait)
        else:
            return True
    return False


async def whisper(interaction: discord.Interaction, text: str) -> bool:
    """A first response that only the person sees who pressed or typed; whether Discord has it."""
    return await respond(interaction, lambda: interaction.response.send_message(text, ephemeral=True))


async def complete(interaction: discord.Interaction, text: str, backoff: Backoff | WakeableBackoff) -> None:
    """Put the answer in the place of 'thinking'; log it where that can't be done."""
    try:
        await retry(
            lambda: interaction.edit_original_response(content=text),
            on=(*NO_ANSWER, CLOSED),
            backoff=backoff,
            attempts=REST_TRIES,
            should_retry=lambda error: not _is_final(error),
        )
    except (*NO_ANSWER, CLOSED) as error:
        log_unanswered(interaction, error)


def _is_final(error: BaseException) -> bool:
    """Whether another try could not help."""
    return isinstance(error, CLOSED) or (isinstance(error, discord.HTTPException) and error.status in _FINAL)


def log_unanswered(interaction: discord.Interaction, error: BaseException) -> None:
    """Log that somebody gets no answer."""
    log.warning("interaction_unanswered", user=str(interaction.user.id), error=str(error) or type(error).__name__)
