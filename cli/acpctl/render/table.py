"""Tables: piped ones, and the widths of the columns on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from acpctl.text import width

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP: Final = 2  # blanks between columns; in a piped table no cell holds as many in a row

Cell = tuple[str, str]  # text that is safe to print, and a style of Renderer.paint


class Column(NamedTuple):
    """``title``, and how to fit the column to a terminal; a piped table uses only ``right`` (aligned).

    ``shrink``: the end of its text that is cut first (empty: neither); the column keeps ``min_width``.
    ``yields``: the column takes no more than the others leave when each has its ``good_width``; an earlier one first.
    ``optional``: the table drops it before another column gets narrower than its ``good_width``, the last one first.
    ``drop``: the table drops it where the columns don't fit at their ``min_width``, the lowest number first (0: never).
    """

    title: str
    right: bool = False
    shrink: Literal["", "tail", "head"] = ""
    min_width: int = 0
    good_width: int = 0
    yields: bool = False
    optional: bool = False
    drop: int = 0


def plain_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """The header and a line per row: nothing cut, at least :data:`GAP` blanks between columns."""
    padded = []
    for index, column in enumerate(columns):
        texts = [column.title, *[row[index][0] for row in rows]]
        widths = list(map(width, texts))
        most = max(widths)
        for number, text in enumerate(texts):
            padding = " " * (most - widths[number])
            texts[number] = padding + text if column.right else text + padding
        padded.append(texts)
    return [(" " * GAP).join(line).rstrip(" ") for line in zip(*padded, strict=True)]


def fit_columns(
    columns: Sequence[Column], widths: Sequence[int], limit: int
) -> tuple[list[int], dict[int, int | None], int]:
    """How Rich must draw a table in ``limit``: the columns to show, the maximum width of each, the table's width.

    ``widths``: the widths of the columns with nothing cut. Rich shrinks the widest of the columns that may shrink. It
    knows no preferred width, and cuts every column where that is not enough; so the table's width exceeds ``limit``
    where the columns need more to have their ``min_width``.
    """
    least = [
        min(size, column.min_width) if column.shrink else size for column, size in zip(columns, widths, strict=True)
    ]
    good = [max(few, min(size, column.good_width)) for column, size, few in zip(columns, widths, least, strict=True)]
    shown = list(range(len(columns)))
    for i in reversed(range(len(columns))):
        if columns[i].optional and _total([good[i] for i in shown]) > limit:
            shown.remove(i)
    for number in sorted({column.drop for column in columns} - {0}):
        if _total([least[i] for i in shown]) > limit:
            shown = [i for i in shown if columns[i].drop != number]
    limit = max(limit, _total([least[i] for i in shown]))
    spare = limit - _total([good[i] for i in shown])
    max_widths: dict[int, int | None] = dict.fromkeys(shown)
    for i in shown:
        if columns[i].yields:
            max_widths[i] = most = max(least[i], good[i] + spare)
            spare -= min(widths[i], most) - good[i]
    return shown, max_widths, limit


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)
