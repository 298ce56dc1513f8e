"""The recent output of one session, for ``sessions.tail``: bounded lines of text, tool calls, stderr and notices."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

from acpbot.text import clean
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["text", "tool", "stderr", "notice"]

_LINES: Final = 200
_LINE_LENGTH: Final = 500
_RING_CHARACTERS: Final = 16_384


class OutputRing:
    """Keeps the last lines, at most 200 and 16,384 characters of them, and gives followers each new one."""

    def __init__(self, thread_id: str, session_id: str) -> None:
        self._thread_id = thread_id
        self._session_id = session_id
        self._ring: deque[dict[str, Any]] = deque()
        self._characters = 0
        self._partial = ""
        self._was_flushed = False
        self._followers: list[Callable[[dict[str, Any]], None]] = []

    def follow(self, follower: Callable[[dict[str, Any]], None]) -> tuple[list[dict[str, Any]], Callable[[], None]]:
        """Give each new line to ``follower``; return the lines kept so far, and a function that ends this."""
        self._followers.append(follower)

        def leave() -> None:
            if follower in self._followers:
                self._followers.remove(follower)

        return list(self._ring), leave

    def text(self, delta: str) -> None:
        """Add a piece of the agent's text; a line is added once it is whole, or too long to wait for."""
        if self._was_flushed and delta:
            delta, self._was_flushed = delta.removeprefix("\n"), False  # the line that this ends is there already
        self._partial += delta
        if "\n" not in delta and len(self._partial) < _LINE_LENGTH:
            return
        *lines, self._partial = self._partial.split("\n")
        if len(self._partial) >= _LINE_LENGTH:
            lines.append(self._partial)
            self._partial = ""
        for line in lines:
            self.line("text", line)

    def flush(self) -> None:
        """Add the unfinished line as it is."""
        if self._partial:
            partial, self._partial, self._was_flushed = self._partial, "", True
            self.line("text", partial)

    def line(self, kind: Kind, text: str) -> None:
        """Add one line; a long one is cut."""
        output = {
            "thread": self._thread_id,
            "session_id": self._session_id,
            "kind": kind,
            "text": clean(text[:_LINE_LENGTH]),
            "at": rfc3339(),
        }
        self._ring.append(output)
        self._characters += len(output["text"])
        while len(self._ring) > _LINES or self._characters > _RING_CHARACTERS:
            self._characters -= len(self._ring.popleft()["text"])
        for follower in tuple(self._followers):
            follower(output)
