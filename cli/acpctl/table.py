"""Tables without boxes. On a terminal: fitted to its width, never at the cost of an id. Else: nothing is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from acpctl.text import fit, fit_left, width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_GAP: Final = 2

Cell = tuple[str, str]  # the text, made safe, and a style


class Column(NamedTuple):
    """``shrink``: which end of its text is given up first (empty: none); it keeps ``least`` columns.

    ``drop``: a column with a higher number is left out sooner where all can't fit; 0 never is.
    """

    title: str
    right: bool = False
    shrink: Literal["", "tail", "head"] = ""
    least: int = 0
    drop: int = 0


def draw(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    limit: int,
    paint: Callable[[str, str], str],
) -> list[str]:
    """The header and a line a row. Lines are longer than ``limit`` only where nothing more may be given up."""
    kept = list(range(len(columns)))
    natural = [max([width(column.title), *(width(row[i][0]) for row in rows)]) for i, column in enumerate(columns)]
    while True:
        widths = _fitted([columns[i] for i in kept], [natural[i] for i in kept], limit)
        if sum(widths) + _GAP * (len(widths) - 1) <= limit:
            break
        last = max(kept, key=lambda i: columns[i].drop)
        if not columns[last].drop:
            break
        kept.remove(last)
    shown = [columns[i] for i in kept]
    header = [(column.title, "head") for column in shown]
    return [_line(shown, cells, widths, paint) for cells in [header, *([row[i] for i in kept] for row in rows)]]


def _fitted(columns: Sequence[Column], natural: Sequence[int], limit: int) -> list[int]:
    """The widths: what is too much is taken from the widest columns that may shrink."""
    widths = list(natural)
    over = sum(widths) + _GAP * (len(widths) - 1) - limit
    while over > 0:
        able = [i for i, column in enumerate(columns) if column.shrink and widths[i] > column.least]
        if not able:
            break
        widest = max(able, key=lambda i: widths[i])
        second = max((widths[i] for i in able if i != widest), default=0)
        step = max(1, min(over, widths[widest] - max(second, columns[widest].least)))
        widths[widest] -= step
        over -= step
    return widths


def _line(
    columns: Sequence[Column],
    cells: Sequence[Cell],
    widths: Sequence[int],
    paint: Callable[[str, str], str],
) -> str:
    parts = []
    for position, (column, (text, style), room) in enumerate(zip(columns, cells, widths, strict=True)):
        shown = fit_left(text, room) if column.shrink == "head" else fit(text, room) if column.shrink else text
        padding = " " * max(0, room - width(shown))
        last = position == len(columns) - 1
        painted = paint(shown, style)
        parts.append(padding + painted if column.right else painted if last else painted + padding)
    return (" " * _GAP).join(parts).rstrip(" ")
