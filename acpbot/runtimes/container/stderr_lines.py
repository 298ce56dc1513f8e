"""What comes on the stderr of an engine's client: the agent's lines, without those of the client itself.

Only whole lines are told apart. A line that never ends is passed on in pieces.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.container.engine_errors import is_noise

if TYPE_CHECKING:
    from collections.abc import Callable

_LINE_BYTES: Final = 8_192
_TAIL_LINES: Final = 20
_MARK: Final = b'time="'


class AgentStderr:
    """Passes what is the agent's on to ``feed``."""

    def __init__(self, feed: Callable[[bytes], None]) -> None:
        self._feed = feed
        self._held = b""
        self._in_line = False  # the beginning of this line was passed on
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        parts = (self._held + data).split(b"\n")
        rest = parts.pop()
        passed = []
        for line in parts:
            if self._in_line or not (line.startswith(_MARK) and is_noise(line.decode(errors="replace"))):
                passed += [line, b"\n"]
            self._in_line = False
        self._tail.extend(line[:_LINE_BYTES] for line in parts[-_TAIL_LINES:])
        if rest and (self._in_line or not _MARK.startswith(rest[: len(_MARK)]) or len(rest) > _LINE_BYTES):
            self._in_line = True
            passed.append(rest)
            rest = b""
        self._held = rest
        if passed:
            self._feed(b"".join(passed))

    def flush(self) -> None:
        """Pass on what is held: nothing follows."""
        held, self._held = self._held, b""
        if held:
            self._tail.append(held)
            self._feed(held)

    def tail(self) -> str:
        """Return the last whole lines, those of the client too."""
        return b"\n".join(self._tail).decode(errors="replace")
