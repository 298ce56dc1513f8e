"""Code fences of Markdown, line by line. Pure.

A fence is a line of three or more backticks or tildes (32 at most; more are text), after any indentation and list
markers: chat platforms do not look at the indentation either.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_OPENING: Final = re.compile(
    r"\s*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(?:(`{3,32})(?!`)(?P<ticks>[^`]*)|(~{3,32})(?!~)(?P<tildes>.*))\Z", re.DOTALL
)
_LANGUAGE: Final = re.compile(r"\s*([A-Za-z0-9_+#.-]+)")
_LANGUAGE_MAX: Final = 32
_LINE_MOST: Final = 1000


class Fence(NamedTuple):
    """An open code fence."""

    marker: str
    language: str


def after_line(line: str, fence: Fence | None) -> Fence | None:
    """The fence that is open after this line, where ``fence`` was open before it."""
    if fence is not None:
        stripped = line.strip()
        closes = len(stripped) >= len(fence.marker) and stripped == fence.marker[0] * len(stripped)
        return None if closes else fence
    if "```" not in line and "~~~" not in line:
        return None
    match = _OPENING.match(line)
    if match is None:
        return None
    language = _LANGUAGE.match(match["ticks"] or match["tildes"] or "")
    named = language is not None and len(language[1]) <= _LANGUAGE_MAX
    return Fence(match[1] or match[3], language[1] if language is not None and named else "")


class OpenFence:
    """The code fence that is open at the end of a growing text. Of a line its first 1,000 characters count."""

    def __init__(self) -> None:
        self._fence: Fence | None = None
        self._line = ""

    def feed(self, text: str) -> None:
        """Add text at the end."""
        *lines, last = text.split("\n")
        for line in lines:
            self._fence = after_line(f"{self._line}{line}"[:_LINE_MOST], self._fence)
            self._line = ""
        if len(self._line) < _LINE_MOST:
            self._line += last

    @property
    def closing(self) -> str:
        """The marker that closes the fence that is open; empty where none is."""
        fence = after_line(self._line[:_LINE_MOST], self._fence)
        return "" if fence is None else fence.marker

    @property
    def opening(self) -> str:
        """The line that opens the same fence anew; empty where none is open."""
        fence = after_line(self._line[:_LINE_MOST], self._fence)
        return "" if fence is None else f"{fence.marker}{fence.language}"

    def continues(self, text: str) -> bool:
        """Whether ``text``, on a line of its own, begins with the end of the open fence."""
        first = text.lstrip().split("\n", 1)[0]
        return bool(self.closing) and after_line(first, self._fence or Fence(self.closing, "")) is None
