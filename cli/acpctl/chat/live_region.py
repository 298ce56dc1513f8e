"""The last rows of a terminal, drawn anew below what scrolls away: the line that is typed, and what changes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from acpctl.text import width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LEAST_COLUMNS = 20


class Row:
    """One row: ``text`` is measured, ``painted`` is written."""

    def __init__(self, text: str, painted: str | None = None) -> None:
        self.text = text
        self.painted = text if painted is None else painted


class Region:
    """``write`` gets whole frames. Rows must be shorter than the terminal is wide."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._widths: list[int] = []
        self._cursor = 0

    @property
    def columns(self) -> int:
        """How wide a row may be: the last column stays free, so that no terminal wraps."""
        return max(_LEAST_COLUMNS, shutil.get_terminal_size().columns) - 1

    @property
    def height(self) -> int:
        """How many rows there may be."""
        return max(3, shutil.get_terminal_size().lines - 1)

    def draw(self, above: Sequence[str], rows: Sequence[Row], cursor: int, *, ring: bool = False) -> None:
        """Let ``above`` scroll away for good, then show ``rows``, the cursor at that column of the last one."""
        scrolled = "".join(f"{line}\r\n" for line in above)
        body = "\r\n".join(row.painted for row in rows)
        place = f"\r\x1b[{cursor}C" if cursor else "\r"
        bell = "\a" if ring else ""
        self._write(f"\x1b[?25l{self._erased()}{scrolled}{body}{place}\x1b[?25h{bell}")
        self._widths = [width(row.text) for row in rows]
        self._cursor = cursor

    def clear(self) -> None:
        """Take the rows away."""
        self._write(self._erased())
        self._widths = []

    def forget(self) -> None:
        """What was drawn is gone, or belongs to somebody else now."""
        self._widths = []

    def _erased(self) -> str:
        if not self._widths:
            return ""
        # A terminal that became narrower has wrapped what was drawn for the old width.
        columns = self.columns + 1
        up = sum(max(0, row - 1) // columns + 1 for row in self._widths[:-1]) + self._cursor // columns
        return f"\r\x1b[{up}A\x1b[J" if up else "\r\x1b[J"
