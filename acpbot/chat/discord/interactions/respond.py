"""Responses to interactions (clicks, slash commands): the first within three seconds, more within 15 minutes.

A response that may be lost is sent again, since a person waits for it. Discord takes one first response, and answers
40060 to another; what follows replaces it.
Source: https://discord.com/developers/docs/interactions/receiving-and-responding.
"""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any, Final

import discord
from discord.utils import MISSING

from acpbot.aio import retry
from acpbot.chat.discord.outbound.rest import CLOSED, NO_ANSWER
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.aio import Backoff, WakeableBackoff
    from acpbot.chat.discord.interactions.menus import Menu

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


async def remove_buttons(interaction: discord.Interaction, text: str) -> None:
    """Take the buttons off the message, as the first response, and tell the person why."""
    if not await respond(interaction, lambda: interaction.response.edit_message(view=None)):
        return
    try:
        await interaction.followup.send(text, ephemeral=True)
    except (*NO_ANSWER, CLOSED) as error:
        log_unanswered(interaction, error)


async def show(interaction: discord.Interaction, menu: Menu) -> bool:
    """Show it to the person as the first response: in the place of the menu that was used, else as a new message."""
    if interaction.type is discord.InteractionType.component:
        edit = interaction.response.edit_message
        return await respond(interaction, lambda: edit(content=menu.text, view=_view(menu)))
    if menu.file is not None:
        send = interaction.response.send_message
        return await respond(interaction, lambda: send(menu.text, file=_upload(menu), ephemeral=True))
    if not menu.items:
        return await whisper(interaction, menu.text)
    view = _view(menu) or MISSING
    return await respond(interaction, lambda: interaction.response.send_message(menu.text, view=view, ephemeral=True))


async def defer(interaction: discord.Interaction) -> bool:
    """Have the person wait for :func:`complete`; whether Discord has it."""
    if interaction.type is discord.InteractionType.component:
        return await respond(interaction, interaction.response.defer)
    return await respond(interaction, lambda: interaction.response.defer(ephemeral=True, thinking=True))


async def complete(interaction: discord.Interaction, menu: Menu, backoff: Backoff | WakeableBackoff) -> None:
    """Put the answer in the place of 'thinking', or of the menu that was used; log it where that can't be done."""
    try:
        await retry(
            lambda: interaction.edit_original_response(
                content=menu.text, view=_view(menu), attachments=MISSING if menu.file is None else [_upload(menu)]
            ),
            on=(*NO_ANSWER, CLOSED),
            backoff=backoff,
            attempts=REST_TRIES,
            should_retry=lambda error: not _is_final(error),
        )
    except (*NO_ANSWER, CLOSED) as error:
        log_unanswered(interaction, error)


def _upload(menu: Menu) -> discord.File:
    """The answer's file; each try needs a new one."""
    name, data = ("file", b"") if menu.file is None else (menu.file.filename, menu.file.data)
    return discord.File(io.BytesIO(data), filename=name)


def _view(menu: Menu) -> discord.ui.View | None:
    """A menu as discord.py sends it. Its ids say all, so it is stopped: the library does not keep it."""
    if not menu.items:
        return None
    view = discord.ui.View(timeout=None)
    options = [
        discord.SelectOption(
            label=item.label, value=item.value, description=item.description or None, default=item.current
        )
        for item in menu.items
    ]
    view.add_item(discord.ui.Select(custom_id=menu.custom_id, placeholder=menu.placeholder, options=options))
    for custom_id, label in menu.buttons:
        view.add_item(discord.ui.Button(custom_id=custom_id, label=label))
    view.stop()
    return view


def _is_final(error: BaseException) -> bool:
    """Whether another try could not help."""
    return isinstance(error, CLOSED) or (isinstance(error, discord.HTTPException) and error.status in _FINAL)


def log_unanswered(interaction: discord.Interaction, error: BaseException) -> None:
    """Log that somebody gets no answer."""
    log.warning("interaction_unanswered", user=str(interaction.user.id), error=str(error) or type(error).__name__)
