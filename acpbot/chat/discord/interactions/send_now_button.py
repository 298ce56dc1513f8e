"""The button 'Send now' below the note of a waiting message: it cancels the running turn, and sends the message.

Whoever may stop the running turn may press it. Its id names the message, so a press works after a restart too, where
the message waits again.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from acpbot.chat.discord import access
from acpbot.chat.discord.access import author_of
from acpbot.chat.discord.interactions.command_text import not_yours_text
from acpbot.chat.discord.interactions.respond import remove_buttons, respond, whisper
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    import discord

    from acpbot.chat.discord.access import Channels, CurrentSettings
    from acpbot.chat.discord.outbound.post import Components
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

LABEL: Final = "Send now"
NEXT: Final = "There's nothing to stop any more. This message goes next."
GONE: Final = "This message isn't waiting any more."

_DROPPED_MOST: Final = 256
_ID: Final = re.compile(r"acpbot-now:([0-9]{1,20})")
_ROW, _BUTTON, _SECONDARY = 1, 2, 2  # component types, and a button's style


class SendNowButtons:
    """The buttons of all notes. ``asker_of`` says who asked for the turn that runs in a thread."""

    def __init__(
        self, settings: CurrentSettings, channels: Channels, pool: Pool, asker_of: Callable[[str], str | None]
    ) -> None:
        self._settings = settings
        self._channels = channels
        self._pool = pool
        self._asker_of = asker_of
        self._dropped: deque[str] = deque(maxlen=_DROPPED_MOST)

    def rows(self, key: str) -> Components:
        """The row of the button (Discord, message components) for the message with the id ``key``."""
        button = {"type": _BUTTON, "style": _SECONDARY, "label": LABEL, "custom_id": f"acpbot-now:{key}"}
        return [{"type": _ROW, "components": [button]}]

    def dropped(self, key: str) -> None:
        """The note of this message is being deleted."""
        self._dropped.append(key)

    async def on_click(self, interaction: discord.Interaction) -> bool:
        """Send the message, where the click is on such a button; whether it is."""
        data: Any = interaction.data or {}
        found = _ID.fullmatch(str(data.get("custom_id")))
        if found is None:
            return False
        key, me = found[1], interaction.client.user
        author = author_of(interaction.user)
        source = self._channels.source_of(interaction.channel, "" if me is None else str(me.id))
        thread_id = source.channel_id
        asker_id = self._asker_of(thread_id)
        fields = {"user": author.id, "thread": thread_id, "message": key}
        if not access.may_control(self._settings.discord, author, source, asker_id):
            log.info("send_now_denied", **fields)
            await whisper(interaction, not_yours_text(source.owner_id, asker_id))
            return True
        outcome = self._pool.send_now(thread_id, key, by=author.id)
        log.info("send_now", **fields, outcome=outcome)
        if outcome == "interrupted":
            await respond(interaction, interaction.response.defer)  # the note's next edit takes the button away
        elif outcome == "next":
            await whisper(interaction, NEXT)
        elif key in self._dropped:
            await whisper(interaction, GONE)
        else:
            await remove_buttons(interaction, GONE)
        return True
