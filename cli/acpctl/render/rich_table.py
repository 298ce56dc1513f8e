"""Tables that Rich draws on a terminal. Only :meth:`acpctl.render.renderer.Renderer.table` imports this module."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table

from acpctl.render.table import GAP, Cell, Column, fit_columns
from acpctl.text import truncate, truncate_start, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import ConsoleOptions, RenderResult

_STYLES: Final = {"head": "bold dim", "alert": "bold red"}  # Rich has the other styles of Output under the same names


def draw_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], limit: int, *, color: bool) -> list[str]:
    """The table's lines; one is wider than ``limit`` columns only where no column can shrink further."""
    cells = [[(column.title, "head"), *(row[i] for row in rows)] for i, column in enumerate(columns)]
    sizes = [[width(text) for text, _ in column] for column in cells]
    shown, max_widths, limit = fit_columns(columns, list(map(max, sizes)), limit)
    # Each column is one cell of many lines, and brings its gap: Rich lays that out much faster than one cell a row.
    table = Table(box=None, padding=0, show_header=False)
    for i in shown:
        gap = 0 if i == shown[-1] else GAP
        most = max_widths[i]
        table.add_column(no_wrap=not columns[i].shrink, max_width=None if most is None else most + gap)
    table.add_row(*(_Lines(columns[i], cells[i], sizes[i], 0 if i == shown[-1] else GAP) for i in shown))
    console = Console(
        file=io.StringIO(),
        width=limit,
        color_system="standard" if color else None,
        no_color=not color,
        force_terminal=False,  # else FORCE_COLOR decides, and with some TERMs the width too
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip(" ") for line in capture.get().rstrip("\n").split("\n")]


class _Lines:
    """The cells of one column below each other, cut to the width that Rich gives the column, with a gap behind."""

    def __init__(self, column: Column, cells: Sequence[Cell], sizes: Sequence[int], gap: int) -> None:
        self._column = column
        self._cells = cells
        self._sizes = sizes
        self._gap = gap

    def __rich_measure__(self, _console: Console, _options: ConsoleOptions) -> Measurement:
        most = max(self._sizes) + self._gap
        return Measurement(self._gap + 1 if self._column.shrink else most, most)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        columns = options.max_width - self._gap
        line = Segment.line()
        cut = truncate_start if self._column.shrink == "head" else truncate
        for (text, style), size in zip(self._cells, self._sizes, strict=True):
            shown = text if size <= columns else cut(text, columns)
            blanks = " " * max(0, columns - min(size, width(shown)))
            if self._column.right:
                yield Segment(blanks)
            yield Segment(shown, Style.parse(_STYLES.get(style, style)))
            yield Segment(" " * self._gap if self._column.right else blanks + " " * self._gap)
            yield line
