"""The button 'Show output' below an answer: what its tools were, how long they took and what came of them.

What it shows is in memory only, for the latest answers: after a restart the person reads that it has expired.
"""

from __future__ import annotations

import io
import re
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.chat.discord.interactions.respond import respond, whisper
from acpbot.chat.rendering.tool_log import ToolLog
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.schema import Update

log = get_logger(__name__)

LABEL: Final = "Show output"
EXPIRED: Final = "This output has expired."
FILE_NAME: Final = "tool-output.txt"
ANSWERS_MOST: Final = 64
CHARACTERS_MOST: Final = 4 * 1024 * 1024
"""Of all answers' output; the oldest is dropped first."""

_ID: Final = re.compile(r"acpbot-output:([0-9a-f]{16})")
_BUTTON, _SECONDARY = 2, 2  # a component's type, and a button's style


class ToolOutputs:
    """The output of the latest answers, by the ids of their buttons."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._size = 0

    def of_turn(self, *, lines: int) -> TurnOutput:
        """What collects the output of one turn, and offers it where there are more calls than ``lines``."""
        return TurnOutput(self, self._clock, lines)

    def keep(self, text: str) -> str:
        """Keep an answer's output; the ``custom_id`` of its button."""
        key = secrets.token_hex(8)
        self._texts[key] = text
        self._size += len(text)
        while len(self._texts) > ANSWERS_MOST or self._size > CHARACTERS_MOST:
            _, dropped = self._texts.popitem(last=False)
            self._size -= len(dropped)
        return f"acpbot-output:{key}"

    async def on_click(self, interaction: discord.Interaction) -> bool:
        """Answer a click, for the person alone, where it is on such a button; whether it is."""
        data: Any = interaction.data or {}
        found = _ID.fullmatch(str(data.get("custom_id")))
        if found is None:
            return False
        text = self._texts.get(found[1])
        if text is None:
            await whisper(interaction, EXPIRED)
            return True
        send = interaction.response.send_message
        content = text.encode(errors="replace")
        await respond(
            interaction, lambda: send(file=discord.File(io.BytesIO(content), filename=FILE_NAME), ephemeral=True)
        )
        log.info("tool_output_shown", user=str(interaction.user.id))
        return True


class TurnOutput:
    """Collects the output of one turn's tools, and offers it."""

    def __init__(self, outputs: ToolOutputs, clock: Callable[[], float], lines: int) -> None:
        self._outputs = outputs
        self._lines = lines
        self._log = ToolLog(clock)

    def note(self, update: Update) -> None:
        """Note what a tool does."""
        if update.kind in {"tool_call", "tool_call_update"}:
            self._log.note(update.body)

    def waits(self, tool_call_id: str | None, *, on: bool) -> None:
        """A tool waits for a person's permission, or does so no more."""
        if tool_call_id is not None:
            self._log.waits(tool_call_id, on=on)

    def buttons(self) -> list[dict[str, Any]]:
        """The button for below the answer's last message, where some calls have no line of their own; else nothing."""
        if self._log.count <= self._lines:
            return []
        custom_id = self._outputs.keep(self._log.text())
        return [{"type": _BUTTON, "style": _SECONDARY, "label": LABEL, "custom_id": custom_id}]
