"""Tables as programs read them; on a terminal :class:`acpctl.render.output.Output` has Rich draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from acpctl.text import width

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP: Final = 2  # blanks between columns; in a piped table no cell holds as many

Cell = tuple[str, str]  # the text, made safe, and a style


class Column(NamedTuple):
    """What else than ``title`` says how a column is fitted to a terminal; a piped table only knows ``right``.

    ``shrink``: which end of its text is given up first (empty: none); it keeps ``least`` columns.
    ``yields``: with more than 1 it takes no more than is left when the others have their ``good`` width.
    ``optional``: left out before another has to go below ``good``.
    """

    title: str
    right: bool = False
    shrink: Literal["", "tail", "head"] = ""
    least: int = 0
    good: int = 0
    yields: float = 1.0
    optional: bool = False


def plain(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """The header and a line a row, nothing cut, :data:`GAP` blanks or more between columns."""
    lines = [[column.title for column in columns], *([text for text, _ in row] for row in rows)]
    rooms = [max(map(width, texts)) for texts in zip(*lines, strict=True)]
    return [(" " * GAP).join(map(_padded, columns, texts, rooms)).rstrip(" ") for texts in lines]


def fitted(
    columns: Sequence[Column], wanted: Sequence[int], limit: int
) -> tuple[list[int], dict[int, int | None], int]:
    """What Rich is to be told: which columns to show, the most that each may take, and the width of the table.

    ``wanted``: the widths of the columns with nothing cut. Rich takes what is too much from the widest columns that may
    shrink. It knows no width that a column would rather have, and cuts every column where all this is not enough; so
    the width is more than ``limit`` where the columns can't all have their least.
    """
    least = [min(size, column.least) if column.shrink else size for column, size in zip(columns, wanted, strict=True)]
    good = [max(few, min(size, column.good)) for column, size, few in zip(columns, wanted, least, strict=True)]
    shown = list(range(len(columns)))
    if _total(good) > limit:
        shown = [i for i in shown if not columns[i].optional]
    limit = max(limit, _total([least[i] for i in shown]))
    spare = limit - _total([good[i] for i in shown])
    most: dict[int, int | None] = dict.fromkeys(shown)
    for i in shown:
        if columns[i].yields > 1:
            most[i] = room = max(least[i], good[i] + spare)
            spare -= max(0, min(wanted[i], room) - good[i])
    return shown, most, limit


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _padded(column: Column, text: str, room: int) -> str:
    padding = " " * (room - width(text))
    return padding + text if column.right else text + padding
