"""Markdown tables, which Discord does not draw, as an aligned code block or as bullets. Pure.

A table is a header, a line of dashes with as many cells, and the lines after it that have a pipe. Pipes at the ends of
a line may be left out. A pipe after a backslash separates no cells, nor does one in inline code, unless the row has as
many cells as the header only where it does. A row may have more cells than the header: all of them are shown.
Source: GitHub Flavored Markdown, section 4.10.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final, Literal

from acpbot.chat.rendering.markdown import fence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TableMode = Literal["code", "bullets", "off"]

_WIDTH_MAX: Final = 90
_COLUMNS_MAX: Final = 30
_PIPE: Final = re.compile(r"(?<!\\)\|")
_TICKS: Final = re.compile("`+")
_DASHES: Final = re.compile(r":?-+:?")
_BOLD: Final = re.compile(r"(\*\*|__)(.+?)\1")
_CODE: Final = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_BREAK: Final = re.compile(r"<br\s*/?>", re.IGNORECASE)


def has_pipe(line: str) -> bool:
    """Whether the line has a pipe that may separate cells."""
    return "|" in line and _PIPE.search(line) is not None


def is_dashes(line: str, header: str) -> bool:
    """Whether this is the line below the header of a table."""
    if "-" not in line or not has_pipe(line):
        return False
    found = _cells(line)
    return all(_DASHES.fullmatch(cell) for cell in found) and len(found) == len(_cells(header))


def draw(lines: Sequence[str], mode: Literal["code", "bullets"], inline: Callable[[str], str]) -> str | None:
    """A table of a header, dashes and rows, without a line feed at its end; ``None``: it can't be drawn.

    ``inline`` converts the markup of a cell that is shown outside a code block.
    """
    header, dashes = _cells(lines[0]), _cells(lines[1])
    if len(header) > _COLUMNS_MAX:
        return None
    rows = [_cells(line, len(header)) for line in lines[2:]]
    count = max(map(len, (header, *rows)))
    header, *rows = ([*row, *[""] * (count - len(row))] for row in (header, *rows))
    if count > _COLUMNS_MAX:
        return None
    if mode == "code":
        plain = [[_plain(cell) for cell in row] for row in (header, *rows)]
        widths = [max(map(_width, column)) for column in zip(*plain, strict=True)]
        if sum(widths) + 2 * (len(widths) - 1) <= _WIDTH_MAX:
            dashes += ["-"] * (count - len(dashes))
            return _aligned(plain, widths, [(cell.startswith(":"), cell.endswith(":")) for cell in dashes])
    return _bullets([inline(cell) for cell in header], [[inline(cell) for cell in row] for row in rows])


def _cells(line: str, wanted: int | None = None) -> list[str]:
    """The cells of a line: of its two readings the one that has so many, else the one that knows inline code."""
    line = line.strip()
    pipes = [found.start() for found in _PIPE.finditer(line)]
    code = _code_spans(line) if "`" in line else []
    outside = [at for at in pipes if not any(start < at < end for start, end in code)]
    found = _split(line, outside)
    if len(outside) < len(pipes) and wanted is not None and len(found) != wanted:
        every = _split(line, pipes)
        if len(every) == wanted:
            return every
    return found


def _split(line: str, pipes: Sequence[int]) -> list[str]:
    if not pipes:
        cells = [line]
    else:
        ends = [*pipes, len(line)]
        cells = [line[start:end] for start, end in zip([0, *(at + 1 for at in pipes)], ends, strict=True)]
        if not cells[0].strip():
            del cells[0]
        if len(cells) > 1 and not cells[-1].strip():
            cells.pop()
    return [_BREAK.sub(" ", cell.replace("\\|", "|")).strip() for cell in cells]


def _code_spans(line: str) -> list[tuple[int, int]]:
    runs = [(found.start(), found.end()) for found in _TICKS.finditer(line)]
    spans: list[tuple[int, int]] = []
    ends: dict[int, list[tuple[int, int]]] = {}
    for run in reversed(runs):
        ends.setdefault(run[1] - run[0], []).append(run)
    for start, stop in runs:
        same = ends[stop - start]
        while same and same[-1][0] <= start:
            same.pop()
        if same and (not spans or start >= spans[-1][1]):
            spans.append((start, same[-1][1]))
    return spans


def _aligned(rows: Sequence[Sequence[str]], widths: Sequence[int], colons: Sequence[tuple[bool, bool]]) -> str:
    lines = []
    for row in rows:
        padded = []
        for cell, width, (left, right) in zip(row, widths, colons, strict=True):
            blank = width - _width(cell)
            before = (blank // 2 if left else blank) if right else 0
            padded.append(f"{' ' * before}{cell}{' ' * (blank - before)}")
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("─" * width for width in widths))
    return fence("\n".join(lines))


def _bullets(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    names = " · ".join(plain for cell in header if (plain := _plain(cell)))
    lines = [f"**{names}**"] if names else []
    for first, *others in rows:
        lines.append(f"- **{_plain(first) or _plain(header[0]) or '–'}**")  # noqa: RUF001 - a dash for nothing
        pairs = zip(map(_plain, header[1:]), others, strict=True)
        named = [f"{name}: {cell}" if name else cell for name, cell in pairs if cell]
        if len(header) == 2 and named:  # noqa: PLR2004 - a name and a value
            lines[-1] += f": {others[0]}"
        else:
            lines += [f"  - {words}" for words in named]
    return "\n".join(lines)


def _plain(cell: str) -> str:
    """Without the markup that a code block would show."""
    return " ".join(_CODE.sub(r"\2", _BOLD.sub(r"\2", cell)).split())


def _width(text: str) -> int:
    """Columns that it takes in a fixed-width font."""
    if text.isascii():
        return len(text)
    shown = (c for c in text if unicodedata.category(c) not in {"Mn", "Me", "Cf"})
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in shown)
