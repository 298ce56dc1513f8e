"""A byte stream as lines, without I/O; a line that is too long never takes more memory than the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

PREVIEW: Final = 120
"""Bytes of a bad line that are kept for the log."""


class Overlong(msgspec.Struct, frozen=True):
    """A line is longer than the limit. ``short`` is what was kept of it, ``None``: nothing."""

    preview: bytes
    short: bytes | None = None


class LineShortener(Protocol):
    """Takes a long line in pieces, and gives a short one."""

    def feed(self, data: bytes) -> None:
        """Take the next piece."""

    def finish(self) -> bytes | None:
        """The short line; ``None`` where there is none."""


class LineSplitter:
    """Splits a byte stream at newlines; buffers at most one unfinished line of ``limit`` bytes (newline included).

    A longer line is reported and dropped while it arrives. With ``shortener``, each such line is given to what that
    returns, and reported when it ends.
    """

    def __init__(self, limit: int, shortener: Callable[[], LineShortener] | None = None) -> None:
        self._limit = limit
        self._new_shortener = shortener
        self._shortener: LineShortener | None = None
        self._preview = b""
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    @property
    def mid_line(self) -> bool:
        """Whether part of a line has been received, but not its newline."""
        return self._size > 0 or self._skipping

    def feed(self, data: bytes) -> list[bytes | Overlong]:
        """The lines that ``data`` completes, without their newlines, in order."""
        *whole, rest = data.split(b"\n")
        if self._skipping or self._size + len(data) >= self._limit:
            lines = self._checked(whole)
        else:  # no line in it can be too long
            lines = [*whole]
            if lines and self._parts:
                lines[0] = b"".join((*self._parts, whole[0]))
                self._parts = []
        if whole:
            self._size = 0
        if rest:
            self._keep(rest, lines)
        return lines

    def _checked(self, whole: list[bytes]) -> list[bytes | Overlong]:
        lines: list[bytes | Overlong] = []
        for piece in whole:
            if self._skipping:
                self._skipping = False
                if self._shortener is not None:
                    self._shortener.feed(piece)
                    lines.append(self._finished())
            elif self._size + len(piece) >= self._limit:
                self._begin_overlong(piece)
                lines.append(self._finished())
            elif self._parts:
                lines.append(b"".join((*self._parts, piece)))
                self._parts = []
            else:
                lines.append(piece)
            self._size = 0
        return lines

    def _keep(self, rest: bytes, lines: list[bytes | Overlong]) -> None:
        """Take the beginning of a line, or what follows it."""
        if self._skipping:
            if self._shortener is not None:
                self._shortener.feed(rest)
        elif self._size + len(rest) >= self._limit:
            self._begin_overlong(rest)
            self._size, self._skipping = 0, True
            if self._shortener is None:
                lines.append(self._finished())
        else:
            self._parts.append(rest)
            self._size += len(rest)

    def _begin_overlong(self, piece: bytes) -> None:
        parts, self._parts = [*self._parts, piece], []
        self._preview = b"".join(part[:PREVIEW] for part in parts[:2])[:PREVIEW]
        if self._new_shortener is not None:
            self._shortener = self._new_shortener()
            for part in parts:
                self._shortener.feed(part)

    def _finished(self) -> Overlong:
        shortener, self._shortener = self._shortener, None
        return Overlong(self._preview, None if shortener is None else shortener.finish())
