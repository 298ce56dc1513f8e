"""How many files wait in memory until their readers have them: each may take megabytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from acpbot.chat.discord.interactions.call import Call

UPLOADS_MOST: Final = 4
BUSY: Final = "I'm sending other files right now. Please try again in a moment."


class UploadSlots:
    """The files that answers to commands carry."""

    def __init__(self) -> None:
        self._used = 0

    def take(self, call: Call) -> bool:
        """Whether the answer to this command may have a file; its place is free again once the person has it."""
        if self._used >= UPLOADS_MOST:
            return False
        self._used += 1
        call.after_answer = self._release
        return True

    def _release(self) -> None:
        self._used -= 1
