"""A growing answer as a list of message bodies, each within a platform's limit. Pure: no I/O, no clock, no platform.

The first body begins with the tools and the plan (the head), the last one ends with what the bot itself has to say (the
tail); between them is the agent's text, split by :mod:`.splitter`. A body that is full keeps its text: what
comes later can only change the head of the first. Past ``max_bodies`` the rest of the text is for a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpbot.chat.rendering.header import LiveHead, ToolDisplay, cut
from acpbot.chat.rendering.splitter import Piece, Splitter
from acpbot.text import units

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LIMIT_MIN: Final = 400
_NOTICES_MAX: Final = 5
_NOTICE_MAX: Final = 300


class Body(NamedTuple):
    """One message body, in what it is made of.

    ``shown`` is the agent's text; ``before`` and ``after`` are added around it (head, tail, fences closed and opened
    again). ``raw`` is the part of the agent's text that this body stands for, byte for byte; ``shown`` is the same
    without the white space at its ends that a platform would strip anyway.
    """

    before: str
    shown: str
    after: str
    raw: str

    @property
    def text(self) -> str:
        """What is posted."""
        return f"{self.before}{self.shown}{self.after}"


def join(bodies: Iterable[Body], overflow: str | None = None) -> str:
    """The agent's text again, byte for byte, from its bodies and what went to the file."""
    return "".join((*(body.raw for body in bodies), overflow or ""))


class LiveMessage:
    """One turn's answer.

    ``limit``: UTF-16 code units of a body, 400 at least. Discord allows 2000 characters; which it counts is not said,
    and these are never fewer. A tenth of the first body is kept for the head, a fifth of the last for the tail.
    ``tool_display``: ``full`` is a line for each tool, collapsed past three; ``compact`` is one line; ``none`` is none.
    """

    def __init__(self, *, limit: int = 2000, max_bodies: int = 5, tool_display: ToolDisplay = "full") -> None:
        if limit < LIMIT_MIN or max_bodies < 1:
            raise ValueError(f"cannot split into {max_bodies} bodies of {limit}: the least is 1 body of {LIMIT_MIN}")
        self._limit = limit
        self._max = max_bodies
        self._head_room = limit // 10
        self._tail_room = limit // 5
        self._head = LiveHead(tool_display)
        self._head_text = ""
        self._notices: list[str] = []
        self._chunks: list[str] = []
        self._splitter = Splitter(self._room, max_bodies)

    def append(self, text: str) -> None:
        """Add a chunk of the agent's text. How a text is cut into chunks makes no difference to the bodies."""
        if text:
            self._chunks.append(text)
            self._splitter.feed(text)

    def tool(self, tool_call_id: str, *, title: str | None, kind: str | None, status: str | None) -> None:
        """Show a tool call, or what has become of it; ``None`` leaves what was known."""
        self._head.tool(tool_call_id, title=title, kind=kind, status=status)
        self._head_changed()

    def plan(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Show the plan in place of the one before: ACP plan entries (``content``, ``status``)."""
        self._head.plan(entries)
        self._head_changed()

    def notice(self, text: str) -> None:
        """Add one plain line of the bot's own at the end; of more than five, the last five stay."""
        line = cut(" ".join(text.split()).replace("```", "'''"), _NOTICE_MAX)
        if line:
            self._notices = [*self._notices, line][-_NOTICES_MAX:]

    @property
    def text(self) -> str:
        """All of the agent's text, byte for byte."""
        if len(self._chunks) > 1:
            self._chunks = ["".join(self._chunks)]
        return "".join(self._chunks)

    def bodies(self) -> list[str]:
        """What to show now: each within the limit, none of them blank."""
        return [before + shown + after for before, shown, after in self._pieces()]

    def parts(self) -> list[Body]:
        """The same, in what each body is made of. White space alone gives no body."""
        pieces, raws = self._pieces(), self._splitter.raws()
        raws += [""] * (len(pieces) - len(raws))
        return [Body(*piece, raw) for piece, raw in zip(pieces, raws, strict=True)]

    def overflow(self) -> str | None:
        """The text past the last body, and only that; ``None`` for none."""
        return self._splitter.rest or None

    # The head.

    def _room(self, index: int) -> int:
        room = self._limit
        if index == 0:
            room -= max(self._head_room, units(self._head_text) + 1)
        if index == self._max - 1:
            room -= self._tail_room
        return room

    def _head_changed(self) -> None:
        if self._splitter.closed:
            first = self._splitter.closed[0]
            budget = self._limit - units("".join(first)) - 1 - (self._tail_room if self._max == 1 else 0)
            self._head_text = self._head.render(budget)
        else:
            self._head_text = self._head.render(self._limit // 2)
            self._splitter.room_changed()

    # All of it.

    def _pieces(self) -> list[Piece]:
        pieces = list(self._splitter.closed)
        growing = self._splitter.open()
        if growing is not None:
            pieces.append(growing)
        if self._head_text:
            first = pieces[0] if pieces else Piece("", "", "")
            head = f"{self._head_text}\n" if pieces else self._head_text
            pieces[:1] = [first._replace(before=head + first.before)]
        self._add_tail(pieces)
        return pieces

    def _add_tail(self, pieces: list[Piece]) -> None:
        left = self._splitter.rest_length
        more = [f"… {left:,} more character{'s are' if left != 1 else ' is'} in the attached file."] if left else []
        tail = "\n".join((*more, *self._notices))
        if not tail:
            return
        free = self._limit - units("".join(pieces[-1])) - 1 if pieces else 0
        if units(tail) > free and len(pieces) < self._max:
            pieces.append(Piece("", "", cut(tail, self._limit)))
        else:
            last = pieces[-1]
            pieces[-1] = last._replace(after=f"{last.after}\n{cut(tail, free)}")
