"""A conversation as rows of a terminal: a growing text is wrapped at words, and given row by row as rows get full."""

from __future__ import annotations

from acpctl.text import exceeds, take, width

_FENCE = "```"


class Wrapped:
    """Text that comes in pieces. ``rows`` are finished and leave by :meth:`taken`; ``tail`` still grows."""

    def __init__(self) -> None:
        self.tail = ""
        self._rows: list[str] = []
        self._blank = 0
        self._fenced = False
        self._begun = False

    def add(self, text: str, columns: int) -> None:
        """Add a piece."""
        *lines, rest = (self.tail + text).split("\n")
        for line in lines:
            self._line(line, columns)
        self.tail = rest
        while exceeds(self.tail, columns):
            row, self.tail = self._first_row(self.tail, columns)
            self._put(row)

    def end(self) -> None:
        """The text has ended, or something else follows: the tail is a row."""
        if self.tail.strip():
            self._line(self.tail, width(self.tail))
        self.tail = ""
        self._blank = 0

    def restart(self) -> None:
        """A new text begins: empty lines before its first row are left out again."""
        self.end()
        self._begun = self._fenced = False

    def taken(self) -> list[str]:
        """The finished rows, once. Empty lines are held back until something follows them."""
        rows, self._rows = self._rows, []
        return rows

    def _line(self, line: str, columns: int) -> None:
        while exceeds(line, columns):
            row, line = self._first_row(line, columns)
            self._put(row)
        self._put(line)
        if line.lstrip().startswith(_FENCE):
            self._fenced = not self._fenced

    def _put(self, row: str) -> None:
        row = row.rstrip()
        if not row:
            self._blank += 1
            return
        if self._begun:
            self._rows += [""] * self._blank
        self._blank = 0
        self._begun = True
        self._rows.append(row)

    def _first_row(self, text: str, columns: int) -> tuple[str, str]:
        row = take(text, columns) or text[:1]
        rest = text[len(row) :]
        if self._fenced:
            return row, rest
        space = row.rfind(" ")
        if rest.startswith(" ") or space < 0 or not row[:space].strip():
            return row, rest.lstrip(" ")
        return row[:space], text[space + 1 :]
