"""The recent output of one thread, for ``sessions.tail``: bounded lines of what its agent says and does, in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from acpbot.acp import schema
from acpbot.sessions.turn import PermissionRequest
from acpbot.text import clean, one_line
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from acpbot.sessions.questions import Question
    from acpbot.sessions.turn import TurnEnd

Kind = Literal["text", "tool", "stderr", "notice", "plan", "turn_end", "prompt", "permission"]
FOR_ADMINS: Final = frozenset({"prompt", "permission"})
"""The kinds that those who may only read do not get: what people write, and what a permission is wanted for."""

_LINES: Final = 200
_LINE_LENGTH: Final = 500
_INPUT_LENGTH: Final = 2_000
_PROMPT_LINES: Final = 20
_PLAN_LINES: Final = 20
_RING_CHARACTERS: Final = 16_384

Line = dict[str, Any]


class OutputRing:
    """Keeps the last lines, at most 200 and 16,384 characters of them, and gives followers each new one.

    ``keep`` is given all lines at the end of each turn and of the session.
    """

    def __init__(self, thread_id: str, session_id: str, keep: Callable[[Sequence[Line]], None]) -> None:
        self.session_id = session_id
        self.thread_id = thread_id
        self._keep = keep
        self._ring: deque[Line] = deque()
        self._characters = 0
        self._partial = ""
        self._was_flushed = False
        self._plan: list[tuple[str, str]] = []
        self._followers: list[Callable[[Line], None]] = []

    def follow(self, follower: Callable[[Line], None]) -> tuple[list[Line], Callable[[], None]]:
        """Give each new line to ``follower``; return the lines kept so far, and a function that ends this."""
        self._followers.append(follower)

        def leave() -> None:
            if follower in self._followers:
                self._followers.remove(follower)

        return list(self._ring), leave

    def restore(self, lines: Iterable[Line]) -> None:
        """Put the kept lines of the thread's session before in front of what is here."""
        earlier = [line for line in lines if line["session_id"] != self.session_id]
        self._ring.extendleft(reversed(earlier))
        self._characters = sum(len(line["text"]) for line in self._ring)
        self._shorten()

    # What the agent says.

    def update(self, update: schema.Update) -> None:
        """Add what an update says in words: the agent's text, and the entries of a plan that have changed."""
        if update.kind == "agent_message_chunk":
            self.text(schema.chunk_text(update.body))
        elif update.kind == "plan":
            self._plan_changed(update.body.get("entries"))

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
            self._add("text", line)

    def flush(self) -> None:
        """Add the unfinished line as it is."""
        if self._partial:
            partial, self._partial, self._was_flushed = self._partial, "", True
            self._add("text", partial)

    def line(self, kind: Kind, text: str) -> None:
        """Add one line after all text so far; a long one is cut. Only stderr, a stream of its own, ends no line."""
        if kind != "stderr":
            self.flush()
        self._add(kind, text)

    def _plan_changed(self, entries: object) -> None:
        found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        plan = [(str(entry.get("status", "")), str(entry.get("content", ""))) for entry in found]
        for status, content in [entry for entry in plan if entry not in self._plan][:_PLAN_LINES]:
            self.line("plan", one_line(f"{status}: {content}", _LINE_LENGTH))
        self._plan = plan

    # Turns, permissions, the end.

    def prompt(self, text: str) -> None:
        """A prompt is sent: its first lines."""
        self._plan = []
        lines = text.strip().split("\n")
        for line in lines[:_PROMPT_LINES]:
            self.line("prompt", line)
        if len(lines) > _PROMPT_LINES:
            self.line("prompt", f"({len(lines) - _PROMPT_LINES} more lines)")

    def asked(self, request: PermissionRequest | Question) -> None:
        """The agent wants a permission, with its raw input; or it asks people something."""
        self.flush()
        text = f"asks: {request.line}"
        if isinstance(request, PermissionRequest) and (raw := request.action.raw_input) is not None:
            text = f"{text}; input: {msgspec.json.encode(raw).decode()[:_INPUT_LENGTH]}"
        self._add("permission", text, _INPUT_LENGTH)

    def answered(self, request: PermissionRequest | Question) -> None:
        """A permission request, or a question, needs no answer any more."""
        chosen = request.chosen if isinstance(request, PermissionRequest) else None
        answer = request.outcome if chosen is None else f"{request.outcome} {chosen.kind} ({chosen.name})"
        by = f" by {request.answered_by}" if request.answered_by else ""
        self.line("permission", f"{answer}{by}: {request.line}")

    def turn_ended(self, end: TurnEnd) -> None:
        """A turn is over."""
        by = f" by {end.cancelled_by}" if end.cancelled_by else ""
        why = f": {end.error}" if end.error else ""
        self.line("turn_end", one_line(f"{end.stop_reason}{by}{why}", _LINE_LENGTH))
        self._keep(self._ring)

    def session_ended(self, how: str) -> None:
        """The session is over; ``how``: a sentence."""
        self.line("notice", how)
        self._keep(self._ring)

    def _add(self, kind: Kind, text: str, most: int = _LINE_LENGTH) -> None:
        output = {
            "thread": self.thread_id,
            "session_id": self.session_id,
            "kind": kind,
            "text": clean(text[:most]),
            "at": rfc3339(),
        }
        self._ring.append(output)
        self._characters += len(output["text"])
        self._shorten()
        for follower in tuple(self._followers):
            follower(output)

    def _shorten(self) -> None:
        while len(self._ring) > _LINES or self._characters > _RING_CHARACTERS:
            self._characters -= len(self._ring.popleft()["text"])
