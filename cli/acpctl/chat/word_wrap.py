"""Wraps a text that comes in pieces at words, into rows of a terminal."""

from __future__ import annotations

from acpctl.text import exceeds, prefix

_FENCE = "```"


class WrappedText:
    """Collects finished rows for :meth:`take_rows`; ``tail`` is the row that still grows. Breaks code anywhere."""

    def __init__(self) -> None:
        self.tail = ""
        self._rows: list[str] = []
        self._blank = 0  # empty lines that are held back until a row follows
        self._in_code = False
        self._fence = False  # the current line opens or closes code
        self._broken = False  # the current line has rows already
        self._begun = False  # the text has rows already

    def add(self, text: str, columns: int) -> None:
        """Append a piece; rows take at most ``columns``."""
        *lines, rest = text.split("\n")
        for line in lines:
            self._grow(line, columns)
            self._end_line()
        self._grow(rest, columns)

    def end(self) -> None:
        """Finish the last row."""
        if self._broken or self.tail.strip():
            self._end_line()
        self.tail = ""
        self._blank = 0

    def restart(self) -> None:
        """Begin a new text, without the empty lines before its first row."""
        self.end()
        self._begun = self._in_code = False

    def take_rows(self) -> list[str]:
        """The rows that have been finished since the last call. An empty line comes only with a row after it."""
        rows, self._rows = self._rows, []
        return rows

    def _grow(self, text: str, columns: int) -> None:
        self.tail += text
        while True:
            if self._broken and not self._in_code:  # the next row does not begin with the spaces of the break
                self.tail = self.tail.lstrip(" ")
            if not exceeds(self.tail, columns):
                return
            row, rest = self._split(self.tail, columns)
            self._put_part(row)
            self.tail = rest

    def _end_line(self) -> None:
        if self.tail or not self._broken:
            self._put_part(self.tail)
        self._in_code ^= self._fence
        self.tail, self._broken = "", False

    def _put_part(self, row: str) -> None:
        if not self._broken:
            self._fence = row.lstrip().startswith(_FENCE)
        self._broken = True
        row = row.rstrip()
        if not row:
            self._blank += 1
            return
        if self._begun:
            self._rows += [""] * self._blank
        self._blank = 0
        self._begun = True
        self._rows.append(row)

    def _split(self, text: str, columns: int) -> tuple[str, str]:
        row = prefix(text, columns) or text[:1]
        rest = text[len(row) :]
        if self._in_code:
            return row, rest
        space = row.rfind(" ")
        if rest.startswith(" ") or space < 0 or not row[:space].strip():
            return row, rest
        return row[:space], text[space:]
