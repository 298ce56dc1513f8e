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

    ``yields``: how much sooner than others it gives up. ``optional``: left out before another has to go below ``good``.
    """

    title: str
    right: bool = False
    shrink: Literal["", "tail", "head"] = ""
    least: int = 0
    good: int = 0
    yields: float = 1.0
    optional: bool = False


def draw(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    limit: int,
    paint: Callable[[str, str], str],
) -> list[str]:
    """The header and a line a row. Lines are longer than ``limit`` only where nothing more may be given up."""
    natural = [max([width(column.title), *(width(row[i][0]) for row in rows)]) for i, column in enumerate(columns)]
    kept = list(range(len(columns)))
    widths = _fitted(columns, natural, limit)
    if any(column.optional for column in columns) and _cramped(columns, natural, widths, limit):
        kept = [i for i in kept if not columns[i].optional]
        widths = _fitted([columns[i] for i in kept], [natural[i] for i in kept], limit)
    shown = [columns[i] for i in kept]
    header = [(column.title, "head") for column in shown]
    return [_line(shown, cells, widths, paint) for cells in [header, *([row[i] for i in kept] for row in rows)]]


def _fitted(columns: Sequence[Column], natural: Sequence[int], limit: int) -> list[int]:
    """The widths: what is too much is taken from the widest columns that may shrink."""
    widths = [min(wanted, limit) if column.shrink else wanted for column, wanted in zip(columns, natural, strict=True)]
    able = [i for i, column in enumerate(columns) if column.shrink]
    over = _total(widths) - limit
    while over > 0 and (able := [i for i in able if widths[i] > columns[i].least]):
        widths[max(able, key=lambda i: widths[i] * columns[i].yields)] -= 1
        over -= 1
    return widths


def _cramped(columns: Sequence[Column], natural: Sequence[int], widths: Sequence[int], limit: int) -> bool:
    """Whether the optional columns take from the others what they need."""
    needy = any(
        room < min(column.good, wanted)
        for column, wanted, room in zip(columns, natural, widths, strict=True)
        if not column.optional
    )
    return needy or _total(widths) > limit


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


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
