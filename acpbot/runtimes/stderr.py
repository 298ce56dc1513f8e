"""The last lines of an agent's stderr, for people."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from acpbot.text import terminal_text

if TYPE_CHECKING:
    from collections.abc import Callable


class StderrRing:
    """The last lines that an agent wrote to its stderr, readable by people.

    Lines are cleaned only when they are asked for: a chatty agent costs a split and a bounded copy. ``listener``, where
    set, is called on the event loop with the cleaned lines that each read completed (of a burst the last ``limit``);
    it must not raise.
    """

    def __init__(self, *, limit: int = 200, width: int = 2_000) -> None:
        self._ring: deque[bytes] = deque(maxlen=limit)
        self._limit = limit
        self._width = width
        self._raw_width = width * 4  # a character has at most four bytes in UTF-8
        self._partial = b""
        self.listener: Callable[[list[str]], None] | None = None

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        parts = data.rsplit(b"\n", self._limit + 1)
        rest = parts.pop()
        if parts:
            # With more breaks than the ring has room for, parts[0] is several lines in one; it falls out at once.
            parts[0] = self._partial + parts[0]
            fresh = [line[: self._raw_width] for line in parts]
            self._ring.extend(fresh)
            self._partial = b""
            if self.listener is not None:
                self.listener([self._clean(line) for line in fresh[-self._limit :]])
        rest = self._partial + rest
        if len(rest) > self._raw_width:
            rest = rest[rest.rstrip(b"\r").rfind(b"\r") + 1 :][: self._raw_width]
        self._partial = rest

    def lines(self) -> list[str]:
        """Return the last lines, oldest first, the unfinished one included.

        Each is cut at ``width`` characters; escape sequences and control characters are gone, bad UTF-8 is replaced,
        and of a line that was redrawn with carriage returns (a progress bar) the last state stands.
        """
        raw = [*self._ring, self._partial] if self._partial else [*self._ring]
        return [self._clean(line) for line in raw[-self._limit :]]

    def _clean(self, line: bytes) -> str:
        text = line.decode(errors="replace").rstrip("\r")
        text = text[text.rfind("\r") + 1 :]
        return terminal_text(text)[: self._width]
