"""The buttons below one turn's answer: 'Stop' while it grows; 'Continue' and 'Show output' once it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.discord.interactions import continue_button

if TYPE_CHECKING:
    from acpbot.chat.discord.interactions.stop_button import StopButton
    from acpbot.chat.discord.interactions.tool_output import TurnOutput
    from acpbot.chat.discord.outbound.post import Components, Post
    from acpbot.sessions.turn import TurnEnd

_ROW: Final = 1
"""The type of a row of components (Discord, message components)."""


class TurnButtons:
    """``stop`` and ``output`` are ``None`` where these buttons are not to be shown."""

    def __init__(self, stop: StopButton | None, output: TurnOutput | None) -> None:
        self._stop = stop
        self._output = output

    def turn_started(self) -> None:
        """The turn runs, and can be stopped."""
        if self._stop is not None:
            self._stop.turn_started()

    def turn_over(self) -> None:
        """There is nothing to stop any more."""
        if self._stop is not None:
            self._stop.turn_over()

    def while_it_grows(self) -> Components:
        """The buttons below the last message of an answer that grows."""
        return () if self._stop is None else self._stop.rows

    def are_below(self, post: Post) -> None:
        """This message has the buttons now."""
        if self._stop is not None:
            self._stop.post = post

    def at_the_end(self, end: TurnEnd) -> Components:
        """The buttons below the last message of an answer that is complete."""
        buttons = [continue_button.BUTTON] if continue_button.fits(end) else []
        buttons += [] if self._output is None else self._output.buttons()
        return [{"type": _ROW, "components": buttons}] if buttons else ()
