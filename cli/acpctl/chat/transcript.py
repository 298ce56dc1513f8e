"""A conversation as rows of a terminal: a growing text is wrapped at words, and given row by row as rows get full."""

from __future__ import annotations

from acpctl.text import exceeds, take

_FENCE = "```"


class Wrapped:
    """Text that comes in pieces. ``rows`` are finished and leave by :meth:`taken`; ``tail`` still grows."""

    def __init__(self) -> None:
        self.tail = ""
        self._rows: list[str] = []
        self._blank = 0
        self._fenced = False
        self._fence = False  # the line that grows opens or closes code
        self._broken = False  # it has rows already
        self._begun = False

    def add(self, text: str, columns: int) -> None:
        """Add a piece."""
        *lines, rest = text.split("\n")
        for line in lines:
            self._grow(line, columns)
            self._end_line()
        self._grow(rest, columns)

    def end(self) -> None:
        """The text has ended, or something else follows: the tail is a row."""
        if self._broken or self.tail.strip():
            self._end_line()
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

    def _grow(self, text: str, columns: int) -> None:
        self.tail += text
        while True:
            if self._broken and not self._fenced:  # the spaces where a row was broken are none of the next one's
                self.tail = self.tail.lstrip(" ")
            if not exceeds(self.tail, columns):
                return
            row, rest = self._first_row(self.tail, columns)
            self._put_row(row)
            self.tail = rest

    def _end_line(self) -> None:
        if self.tail or not self._broken:
            self._put_row(self.tail)
        self._fenced ^= self._fence
        self.tail, self._broken = "", False

    def _put_row(self, row: str) -> None:
        if not self._broken:
            self._fence = row.lstrip().startswith(_FENCE)
        self._broken = True
        self._put(row)

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
            return row, rest
        return row[:space], text[space:]
