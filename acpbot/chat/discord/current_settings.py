"""The settings that a chat in Discord holds to now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acpbot.config.settings import Settings


class CurrentSettings:
    """A reload replaces the settings here, at once for every part of the chat."""

    def __init__(self, settings: Settings) -> None:
        self.replace(settings)

    def replace(self, settings: Settings) -> None:
        """Hold to ``settings`` from now on. Raises ValueError where they have no [discord]."""
        if settings.discord is None:
            raise ValueError("cannot run a Discord chat: the settings have no [discord]")
        self.discord = settings.discord
        self.reactions = settings.reactions
        self.markdown = settings.markdown
