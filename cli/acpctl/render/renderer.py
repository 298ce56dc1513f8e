"""What a stream can show: colours, glyphs, and tables that fit its width."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final, TextIO

from acpctl.standard_streams import is_terminal
from acpctl.text import exceeds, width, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acpctl.render.table import Cell, Column

_STYLES: Final = {
    "bold": "1",
    "dim": "2",
    "italic": "3",
    "head": "1;2",
    "red": "31",
    "alert": "1;31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_UNLIMITED: Final = 1_000_000  # columns
_MIN_COLUMNS: Final = 20
_MIN_BESIDE: Final = 30  # columns: a narrower text is hard to read
_BELOW: Final = 4  # columns of indent


class Renderer:
    """Renders text for ``stream``. Without a terminal there are no colours, and nothing is cut."""

    def __init__(self, stream: TextIO | None, *, color: bool, environ: Mapping[str, str]) -> None:
        self.terminal = is_terminal(stream, environ)
        self.color = self.terminal and color and not environ.get("NO_COLOR")
        self.home = environ.get("HOME", "")  # the folder that ``~`` means
        self.unicode = stream is not None and (stream.encoding or "").lower().replace("-", "") == "utf8"

    def columns(self) -> int:
        """The width of the terminal; without a terminal there is no limit."""
        return max(_MIN_COLUMNS, shutil.get_terminal_size().columns) if self.terminal else _UNLIMITED

    def paint(self, text: str, style: str) -> str:
        """``text`` in a style of the table above (empty: none), where the user wants colours."""
        codes = _STYLES.get(style)
        return f"\x1b[{codes}m{text}\x1b[0m" if codes and text and self.color else text

    def glyph(self, glyph: str, plain: str) -> str:
        """``glyph`` where the stream's encoding has it, on a terminal or not; else ``plain``."""
        return glyph if self.unicode else plain

    def terminal_glyph(self, glyph: str, plain: str = "") -> str:
        """``glyph`` on a terminal whose encoding has it, else ``plain``."""
        return glyph if self.terminal and self.unicode else plain

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, indent: int = 0) -> list[str]:
        """A table's lines: on a terminal Rich fits and colours them; else there is a header and nothing is cut."""
        if self.terminal:
            from acpctl.render.rich_table import draw_table  # noqa: PLC0415 - importing Rich takes long

            lines = draw_table(columns, rows, self.columns() - indent, color=self.color)
        else:
            from acpctl.render.table import plain_table  # noqa: PLC0415 - JSON does not need it

            lines = plain_table(columns, rows)
        return [" " * indent + line for line in lines]

    def fields(self, pairs: Sequence[tuple[str, Cell]], *, indent: int = 2) -> list[str]:
        """Lines of a name and a value each, the values below each other; on a terminal a long value is word-wrapped."""
        names = max((width(name) for name, _ in pairs), default=0)
        left = indent + names + 2
        lines = []
        for name, (value, style) in pairs:
            first, *others = self.wrap(value, left)
            lines.append(f"{' ' * indent}{self.paint(name.ljust(names), 'dim')}  {self.paint(first, style)}")
            lines += [" " * left + self.paint(other, style) for other in others]
        return lines

    def wrap(self, text: str, used: int = 0) -> list[str]:
        """``text`` word-wrapped to the columns that are left beside ``used``; as it is without a terminal."""
        return wrap(text, max(_MIN_COLUMNS, self.columns() - used)) if self.terminal else [text]

    def beside(self, used: int, text: str) -> list[str]:
        """``text`` behind the first ``used`` columns of a line: what stands there, and the lines below, indented.

        On a terminal that leaves too little room there, all of it is below, and the first line is empty.
        """
        if self.terminal and self.columns() - used < _MIN_BESIDE and exceeds(text, self.columns() - used):
            return ["", *(" " * _BELOW + line for line in self.wrap(text, _BELOW))]
        first, *others = self.wrap(text, used)
        return [first, *(" " * used + line for line in others)]
