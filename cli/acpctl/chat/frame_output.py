"""The terminal of the chat as prompt_toolkit writes to it: whole frames, erased whole after a resize."""

from __future__ import annotations

import os
import shutil
import sys
from typing import NamedTuple

from prompt_toolkit.data_structures import Size
from prompt_toolkit.output.vt100 import Vt100_Output

from acpctl.standard_streams import redirect_to_null


class Drawn(NamedTuple):
    """The frame on the screen: the terminal's width then, the widths of the live rows, the cursor's column."""

    columns: int
    live: list[int]
    cursor: int

    def rows_added(self, columns: int) -> int:
        """How many rows above the cursor the terminal has added by wrapping the frame at ``columns``, a new width."""
        if columns >= self.columns:
            return 0
        return sum(max(0, row - 1) // columns for row in self.live) + self.cursor // columns


class FrameOutput(Vt100_Output):
    """Sends everything between :meth:`begin_frame` and :meth:`end_frame` in one write, so that nothing flickers."""

    def __init__(self) -> None:
        # Nothing here needs the cursor's absolute position (CPR).
        super().__init__(sys.stdout, _terminal_size, term=os.environ.get("TERM"), enable_cpr=False)
        self.drawn = Drawn(0, [], 0)
        self._in_frame = False

    def begin_frame(self) -> None:
        """Hold back what is written, until :meth:`end_frame`."""
        self._in_frame = True

    def end_frame(self) -> None:
        """Send what was held back."""
        self._in_frame = False
        self.flush()

    def cursor_up(self, amount: int) -> None:
        """Move to the first row of the frame, or up in it; prompt_toolkit does not know that the terminal wraps it."""
        super().cursor_up(amount + self.drawn.rows_added(self.get_size().columns))
        self.drawn = Drawn(0, [], 0)

    def flush(self) -> None:
        """Send what is written, outside of a frame."""
        if self._in_frame:
            return
        try:
            super().flush()
        except OSError:  # the terminal has gone away; its end of input or SIGHUP ends the program
            redirect_to_null(sys.stdout)


def _terminal_size() -> Size:
    columns, rows = shutil.get_terminal_size()
    return Size(rows=rows, columns=columns)
