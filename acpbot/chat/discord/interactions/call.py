"""One slash command as it was given, or one use of a menu: what it names, and what it would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import discord

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.access import MessageSource

_CONTROLS: Final = frozenset({"cancel", "close", "file", "reset", "retry"})
"""They are for those who control the session, and so are commands that set something."""


class Call:
    """``options`` are the command's own, by name; ``focused`` is the one that is being typed.

    ``after_answer`` is called once the person has the answer, or can't get it.
    """

    def __init__(self, interaction: discord.Interaction, source: MessageSource) -> None:
        data: Any = interaction.data or {}
        options: list[dict[str, Any]] = data.get("options") or []
        self.interaction = interaction
        self.after_answer: Callable[[], object] | None = None
        self.is_menu = interaction.type is discord.InteractionType.component
        self.source = source
        self.thread_id = source.channel_id
        self.user_id = str(interaction.user.id)
        self.name = "menu" if self.is_menu else str(data.get("name", ""))
        self.options = {str(option.get("name")): str(option.get("value")) for option in options}
        self.focused = next((str(option.get("name")) for option in options if option.get("focused")), "name")

    @property
    def option(self) -> str | None:
        """What the command is about: a model, a mode, an agent, or the name of an option."""
        return self.options.get("name")

    @property
    def value(self) -> str | None:
        """What is to be set; ``None`` where the command only shows something."""
        return self.options.get("value") if self.name == "options" else self.option

    @property
    def changes_session(self) -> bool:
        """Whether it is for those who control the thread's session. Menus are asked apart: only they have one."""
        return self.name in _CONTROLS or self.value is not None

    @property
    def fields(self) -> dict[str, str]:
        """For the log."""
        return {"command": self.name, "user": self.user_id, "thread": self.thread_id}
