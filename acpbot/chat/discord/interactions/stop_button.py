"""The button 'Stop' below an answer that grows: it cancels the turn, as /cancel does.

It goes along with the posts and edits of the answer, so it costs no requests of its own while the answer grows in one
message. Which turns run is in memory only: after a restart none of them does, and a click takes the button away.
"""

from __future__ import annotations

import re
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.chat.discord import access
from acpbot.chat.discord.access import author_of
from acpbot.chat.discord.interactions.command_text import not_yours_text
from acpbot.chat.discord.interactions.respond import remove_buttons, respond, whisper
from acpbot.errors import WireError
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.chat.discord.access import Channels, CurrentSettings
    from acpbot.chat.discord.outbound.post import Components, Post
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

LABEL: Final = "Stop"
STOPPING: Final = "Stopping…"
OVER: Final = "This answer has already ended."

_OVER_MOST: Final = 256
_ID: Final = re.compile(r"acpbot-stop:([0-9a-f]{16})")
_ROW, _BUTTON, _SECONDARY = 1, 2, 2  # component types, and a button's style


class StopButton:
    """The button of one turn. ``post`` is the message that has it; ``pressed``: the agent was asked to stop."""

    def __init__(self, buttons: StopButtons, thread_id: str, asker_id: str) -> None:
        self._buttons = buttons
        self._key = secrets.token_hex(8)
        self.thread_id = thread_id
        self.asker_id = asker_id
        self.post: Post | None = None
        self.pressed = False

    @property
    def rows(self) -> Components:
        """The row of the button (Discord, message components)."""
        label = STOPPING if self.pressed else LABEL
        custom_id = f"acpbot-stop:{self._key}"
        button = {"type": _BUTTON, "style": _SECONDARY, "label": label, "custom_id": custom_id}
        return [{"type": _ROW, "components": [{**button, "disabled": True} if self.pressed else button]}]

    def view(self) -> discord.ui.View:
        """The same as discord.py sends it. Its id says all, so it is stopped: the library does not keep it."""
        view = discord.ui.View(timeout=None)
        label = STOPPING if self.pressed else LABEL
        view.add_item(discord.ui.Button(label=label, custom_id=f"acpbot-stop:{self._key}", disabled=self.pressed))
        view.stop()
        return view

    def turn_started(self) -> None:
        """The turn runs: clicks have an effect."""
        self._buttons.running[self._key] = self

    def turn_over(self) -> None:
        """There is nothing to stop any more."""
        if self._buttons.running.pop(self._key, None) is not None:
            self._buttons.over.append(self._key)


class StopButtons:
    """The buttons of the turns that run, by the keys in their ids. ``over``: the keys of turns that have ended."""

    def __init__(self, settings: CurrentSettings, channels: Channels, pool: Pool) -> None:
        self.running: dict[str, StopButton] = {}
        self.over: deque[str] = deque(maxlen=_OVER_MOST)
        self._settings = settings
        self._channels = channels
        self._pool = pool

    def of_turn(self, thread_id: str, asker_id: str) -> StopButton:
        """The button of one turn, which ``asker_id`` has asked for."""
        return StopButton(self, thread_id, asker_id)

    async def on_click(self, interaction: discord.Interaction) -> bool:
        """Stop the turn, where the click is on such a button; whether it is."""
        data: Any = interaction.data or {}
        found = _ID.fullmatch(str(data.get("custom_id")))
        if found is None:
            return False
        me = interaction.client.user
        author = author_of(interaction.user)
        source = self._channels.source_of(interaction.channel, "" if me is None else str(me.id))
        button = self.running.get(found[1])
        if button is None and found[1] in self.over:
            await whisper(interaction, OVER)  # the answer's last edit takes the button away
        elif button is None:
            await remove_buttons(interaction, OVER)
        elif not access.may_control(self._settings.discord, author, source, button.asker_id):
            log.info("stop_denied", user=author.id, thread=button.thread_id)
            await whisper(interaction, not_yours_text(source.owner_id, button.asker_id))
        else:
            await self._stop(interaction, button, author.id)
        return True

    async def _stop(self, interaction: discord.Interaction, button: StopButton, user_id: str) -> None:
        post = button.post
        is_there = (
            post is not None and interaction.message is not None and post.message_id == str(interaction.message.id)
        )
        if post is not None and is_there:
            post.freeze()  # the end of the answer must come after the response to the click
        shown = False
        try:
            button.pressed = await self._cancelled(button, user_id)
            log.info("turn_stopped", user=user_id, thread=button.thread_id, stopped=button.pressed)
            if not button.pressed:
                await whisper(interaction, OVER)
            elif is_there:
                shown = await respond(interaction, lambda: interaction.response.edit_message(view=button.view()))
            else:  # it has just gone to another message
                await respond(interaction, interaction.response.defer)
        finally:
            if post is not None and is_there:
                post.unfreeze(components=button.rows if shown else None)

    async def _cancelled(self, button: StopButton, user_id: str) -> bool:
        try:
            return await self._pool.cancel(button.thread_id, by=user_id) == "cancelled"
        except WireError as error:
            log.info("turn_not_stopped", thread=button.thread_id, error=str(error))
            return False
