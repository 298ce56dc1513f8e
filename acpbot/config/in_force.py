"""The settings that hold at this moment: a reload replaces them at one place, where they are read at each use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acpbot.config.settings import Settings


class SettingsInForce:
    """Keep this, and read ``now`` at each use: what was read earlier may no longer hold."""

    def __init__(self, settings: Settings) -> None:
        self.replace(settings)

    def replace(self, settings: Settings) -> None:
        """Hold to ``settings`` from now on."""
        self.now = settings
