"""Tables that Rich draws on a terminal. Only :meth:`acpctl.render.renderer.Renderer.table` imports this module."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from acpctl.render.table import GAP, Cell, Column, fit_columns
from acpctl.text import truncate_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import ConsoleOptions, RenderResult
    from rich.measure import Measurement

_STYLES: Final = {"head": "bold dim", "alert": "bold red"}  # Rich has the other styles of Output under the same names


def draw_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], limit: int, *, color: bool) -> list[str]:
    """The table's lines; one is wider than ``limit`` columns only where no column can shrink further."""
    cells = [[_text(column.title, "head"), *(_text(*row[i]) for row in rows)] for i, column in enumerate(columns)]
    widths = [max(cell.cell_len for cell in column) for column in cells]
    shown, max_widths, limit = fit_columns(columns, widths, limit)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="")
    for i in shown:
        # "default" rather than "left": that would style the blanks that fill a cell.
        justify: Literal["right", "default"] = "right" if columns[i].right else "default"
        table.add_column(cells[i][0], justify=justify, no_wrap=not columns[i].shrink, max_width=max_widths[i])
    if rows:
        # Each column is one cell of many lines, which Rich lays out much faster than one cell a row. No text wraps, so
        # the lines of a row stay side by side.
        texts = {i: cells[i][1:] for i in shown}
        table.add_row(*(_Tails(texts[i]) if columns[i].shrink == "head" else _lines(texts[i]) for i in shown))
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


def _text(text: str, style: str) -> Text:
    return Text(text, _STYLES.get(style, style), no_wrap=True, overflow="ellipsis")


def _lines(texts: Sequence[Text]) -> Text:
    return Text("\n", no_wrap=True, overflow="ellipsis").join(texts)


class _Tails:
    """Texts that keep their ends in the width that Rich gives the column: Rich itself only cuts ends."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self._texts = texts

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return max((text.__rich_measure__(console, options) for text in self._texts), key=lambda found: found.maximum)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        for text in self._texts:
            shown = text.copy()
            shown.plain = truncate_start(shown.plain, options.max_width)
            yield shown
