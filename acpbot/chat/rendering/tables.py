"""Markdown tables, which Discord does not draw, as an aligned code block or as bullets. Sans-I/O.

A table is a line that begins with ``|``, a line of dashes with as many cells, and the lines after it that begin with
``|`` (GitHub Flavored Markdown, tables; those without a pipe at the start are left as they are). It is held back until
it ends; all other text is shown at once. Text in a code fence stays as it is.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final, Literal

from acpbot.chat.rendering.markdown import fence
from acpbot.fences import after_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.fences import Fence

TableMode = Literal["code", "bullets", "off"]

HELD_MAX: Final = 16_384
"""Characters of a table that are held back; a longer one is left as it is."""

_WIDTH_MAX: Final = 90
_COLUMNS_MAX: Final = 30
_INDENT_MAX: Final = 3
_FENCE_LINE_MAX: Final = 1000
_PIPE: Final = re.compile(r"(?<!\\)\|")
_DASHES: Final = re.compile(r":?-+:?")
_EMPHASIS: Final = re.compile(r"(\*\*|__|`)(.+?)\1")
_BREAK: Final = re.compile(r"<br\s*/?>", re.IGNORECASE)


class Tables:
    """A stream of text with its tables converted. How it is cut into chunks makes no difference to the whole."""

    def __init__(self, mode: TableMode) -> None:
        self._mode = mode
        self._fence: Fence | None = None
        self._start = ""  # of the open line
        self._state: Literal["undecided", "passing", "row"] = "undecided"  # of the open line
        self._rows: list[str] = []  # whole lines of what may be a table, with their line feeds
        self._size = 0  # of the rows
        self._too_long = False

    def feed(self, chunk: str) -> str:
        """Add a chunk; return what can be shown now."""
        if self._mode == "off":
            return chunk
        *ended, last = chunk.split("\n")
        out = ""
        for line in ended:
            out += self._part(f"{line}\n")
        return out + self._part(last) if last else out

    def finish(self) -> str:
        """The text has ended: return what was held back."""
        rest = "" if self._state == "passing" else self._start
        if self._state == "row" and rest:
            before = self._row(rest)
            rest = ""
        else:
            before = ""
        self._start, self._state = "", "undecided"
        return before + self._release() + rest if self._rows else rest

    def _part(self, part: str) -> str:
        """Add a line or a part of one."""
        if self._state != "passing" or len(self._start) < _FENCE_LINE_MAX:
            self._start += part
        out = ""
        if self._state == "undecided":
            out = self._decide()
        elif self._state == "passing":
            out = part
        if self._state == "row":
            out += self._hold()
        if part.endswith("\n"):
            if self._state == "passing":
                self._fence = after_line(self._start.rstrip("\r\n"), self._fence)
            elif self._state == "row":
                out += self._row(self._start)
            self._start, self._state = "", "undecided"
        return out

    def _decide(self) -> str:
        """What the open line is, once its first visible character or its end is there."""
        visible = self._start.lstrip(" ")
        if not visible:
            return ""
        row = visible[0] == "|" and self._fence is None and len(self._start) - len(visible) <= _INDENT_MAX
        if row and not self._too_long:
            self._state = "row"
            return ""
        self._state = "passing"
        self._too_long = row
        return self._release() + self._start if self._rows else self._start

    def _hold(self) -> str:
        """Where too much is held back, show all of it as it is, and the rest of the table too."""
        if self._size + len(self._start) <= HELD_MAX:
            return ""
        raw = "".join((*self._rows, self._start))
        self._rows, self._size = [], 0
        self._too_long, self._state = True, "passing"
        return raw

    def _row(self, line: str) -> str:
        """A whole line that begins with a pipe: the header, the dashes or a row."""
        self._rows.append(line)
        self._size += len(line)
        if len(self._rows) != 2 or _is_dashes(line, len(_cells(self._rows[0]))):  # noqa: PLR2004 - the second line
            return ""
        # No table, but this line may be the header of one.
        before, self._rows = self._rows[0], [line]
        self._size = len(line)
        return before

    def _release(self) -> str:
        rows, self._rows, self._size = self._rows, [], 0
        if len(rows) < 2 or len(_cells(rows[0])) > _COLUMNS_MAX:  # noqa: PLR2004 - a header and its dashes
            return "".join(rows)
        shown = _convert(rows, "bullets" if self._mode == "bullets" else "code")
        return f"{shown}\n" if rows[-1].endswith("\n") else shown


def convert(text: str, mode: TableMode) -> str:
    """A whole text with its tables converted."""
    tables = Tables(mode)
    return tables.feed(text) + tables.finish()


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    cells = _PIPE.split(line)
    if len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    return [_BREAK.sub(" ", cell.replace("\\|", "|")).strip() for cell in cells]


def _is_dashes(line: str, columns: int) -> bool:
    cells = _cells(line)
    return len(cells) == columns and all(_DASHES.fullmatch(cell) for cell in cells)


def _convert(lines: Sequence[str], mode: Literal["code", "bullets"]) -> str:
    header, dashes = _cells(lines[0]), _cells(lines[1])
    # Rows may have fewer cells than the header, or more, which are not shown (GFM).
    rows = [(_cells(line) + [""] * len(header))[: len(header)] for line in lines[2:]]
    if mode == "code":
        plain = [[_plain(cell) for cell in row] for row in (header, *rows)]
        widths = [max(map(_width, column)) for column in zip(*plain, strict=True)]
        if sum(widths) + 2 * (len(widths) - 1) <= _WIDTH_MAX:
            return _aligned(plain, widths, [cell.endswith(":") and not cell.startswith(":") for cell in dashes])
    return _bullets(header, rows)


def _aligned(rows: Sequence[Sequence[str]], widths: Sequence[int], right: Sequence[bool]) -> str:
    lines = []
    for row in rows:
        padded = []
        for cell, width, to_right in zip(row, widths, right, strict=True):
            blank = " " * (width - _width(cell))
            padded.append(f"{blank}{cell}" if to_right else f"{cell}{blank}")
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("─" * width for width in widths))
    return fence("\n".join(lines))


def _bullets(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return f"- {' · '.join(cell for cell in header if cell)}"
    lines = []
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
    return " ".join(_EMPHASIS.sub(r"\2", cell).split())


def _width(text: str) -> int:
    """Columns that it takes in a fixed-width font."""
    if text.isascii():
        return len(text)
    shown = (c for c in text if unicodedata.category(c) not in {"Mn", "Me", "Cf"})
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in shown)
