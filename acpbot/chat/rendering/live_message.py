"""A growing answer as a list of message bodies, each within a platform's limit. Pure: no I/O, no clock, no platform.

The first body begins with the header (tools and plan), the last one ends with the bot's own notices; between them is
the agent's text, split by :mod:`.splitter`. The text of a full body does not change any more: what comes later
changes at most the header of the first. What is left after ``max_bodies`` is for a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpbot.chat.rendering.adapt import Adapter
from acpbot.chat.rendering.header import Header
from acpbot.chat.rendering.markdown import plain
from acpbot.chat.rendering.splitter import Piece, Splitter, append
from acpbot.text import clean, is_blank, shorten, units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from acpbot.chat.rendering.header import ToolDisplay
    from acpbot.chat.rendering.tables import TableMode

LIMIT_MIN: Final = 400
_NOTICES_MAX: Final = 5
_NOTICE_MAX: Final = 300
_SMALL: Final = "\n-# "
_THOUGHT: Final = "-# "
_THOUGHTS_MAX: Final = 2000
# What is converted of a text, as a multiple of all that is shown of it: the rest of a text of very many lines, or with
# very much that is not shown, stays as it is.
_WORK_FACTOR: Final = 4


class Body(NamedTuple):
    """One message body in its parts.

    ``shown`` is the agent's text; ``before`` and ``after`` are added around it (header, notices, fences closed
    and opened again). ``raw`` is this body's part of the agent's text, byte for byte; ``shown`` is the same without the
    white space at its ends, which a platform would strip anyway.
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

    ``limit``: UTF-16 code units of a body, 400 at least. Discord allows 2000 characters, and does not say how it
    counts them: these are never fewer. A tenth of the first body is kept for the header, a fifth of the last for
    notices; a footer has a tenth at most.
    ``tool_display``: ``full`` is a line for each tool, collapsed past three; ``compact`` is one line; ``none`` is none.
    ``tables``: how Markdown tables are shown; other Markdown that Discord does not draw is converted too
    (:mod:`.adapt`). ``None``: the text stays as it is. What goes to the file is not converted.
    ``clock``: seconds; ``None``: how long tools take is not shown. ``thoughts``: show what the agent thinks, where
    Markdown is converted.
    """

    def __init__(
        self,
        *,
        limit: int = 2000,
        max_bodies: int = 5,
        tool_display: ToolDisplay = "full",
        tables: TableMode | None = None,
        clock: Callable[[], float] | None = None,
        thoughts: bool = False,
    ) -> None:
        if limit < LIMIT_MIN or max_bodies < 1:
            raise ValueError(f"cannot split into {max_bodies} bodies of {limit}: the least is 1 body of {LIMIT_MIN}")
        self._limit = limit
        self._max = max_bodies
        self._header_budget = limit // 10
        self._notice_budget = limit // 5
        self._header = Header(tool_display, clock)
        self._header_second = 0
        self._header_text = ""
        self._header_size = 0
        self._header_changed = False
        self._notices: list[str] = []
        self._footer = ""
        self._adapter = None if tables is None else Adapter(tables)
        self._thoughts_left = _THOUGHTS_MAX if thoughts else 0
        self._thinks = False
        self._in_line = False
        self._raw: list[str] = []  # what was converted
        self._work_most = _WORK_FACTOR * limit * max_bodies
        self._splitter = Splitter(self._budget, max_bodies)
        self._with_held: Splitter | None = None

    def append(self, text: str) -> None:
        """Add a chunk of the agent's text. How a text is cut into chunks makes no difference to the bodies."""
        if not text:
            return
        if self._thinks:
            self._thinks = False
            text = f"\n{text}" if self._in_line else text
        self._in_line = not text.endswith("\n")
        self._feed(text)

    def thought(self, text: str) -> None:
        """Add a chunk of what the agent thinks, as small lines in their place; 2,000 characters at most are shown.

        Nothing is shown inside a code block, or where the rest of the text goes to the file.
        """
        if not text or not self._thoughts_left or self._adapter is None or self._adapter.in_code:
            return
        kept = text[: self._thoughts_left]
        self._thoughts_left -= len(kept)
        parts: list[str] = []
        if not self._thinks and self._in_line:
            parts.append("\n")
            self._in_line = False
        self._thinks = True
        ended = "" if self._thoughts_left else " …"
        for number, line in enumerate(f"{kept.replace('**', '')}{ended}".split("\n")):
            if number and self._in_line:
                parts.append("\n")
                self._in_line = False
            if line.strip():
                parts.append(plain(line) if self._in_line else f"{_THOUGHT}{plain(line.lstrip())}")
                self._in_line = True
        self._feed("".join(parts))

    def _feed(self, text: str) -> None:
        self._with_held = None
        if self._adapter is None:
            self._add(text)
            return
        append(self._raw, text)
        for shown in self._adapter.feed(text):
            self._add(shown)
            if self._splitter.is_full or self._adapter.work > self._work_most:
                rest, self._adapter = self._adapter.stop(), None
                self._raw.clear()
                self._add(rest)
                return

    def _add(self, text: str) -> None:
        if text:
            self._update_header()
            self._splitter.feed(text)

    def finish(self) -> None:
        """The text has ended: what follows is shown as it is."""
        adapter, self._adapter = self._adapter, None
        if adapter is None:
            return
        self._with_held = None
        self._add(adapter.finish())
        if adapter.inline.is_late:
            # Links by name stand before their addresses: all of it is converted once more, knowing these.
            raw, again = "".join(self._raw), Adapter(adapter.mode, adapter.inline.references)
            self._splitter = Splitter(self._budget, self._max)
            self._add("".join(again.feed(raw)) + again.finish())

    def tool(
        self, tool_call_id: str, *, title: str | None, kind: str | None, status: str | None, detail: str | None = None
    ) -> None:
        """Show a tool call or its new status; ``None`` leaves what was known. ``detail``: see :mod:`.tools`."""
        self._header.tool(tool_call_id, title=title, kind=kind, status=status, detail=detail)
        self._header_changed = True

    def tool_waits(self, tool_call_id: str, *, on: bool) -> None:
        """A tool call waits for a person's permission, or does so no more: that is no time that it runs."""
        self._header.waits(tool_call_id, on=on)
        self._header_changed = True

    def forget_tool(self, tool_call_id: str) -> None:
        """Leave a tool call out: it is shown as something else."""
        self._header.forget(tool_call_id)
        self._header_changed = True

    def plan(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Show the plan in place of the one before: ACP plan entries (``content``, ``status``)."""
        self._header.plan(entries)
        self._header_changed = True

    def notice(self, text: str) -> None:
        """Add one plain line of the bot's own at the end; of more than five, the last five stay."""
        line = shorten(" ".join(clean(text).split()).replace("```", "'''"), _NOTICE_MAX)
        if line:
            self._notices = [*self._notices, line][-_NOTICES_MAX:]

    def footer(self, text: str) -> None:
        """Add one small line of the bot's own, in Markdown, below the whole text; nothing where there is no text.

        It is in the last message that has some of the text, never in one of its own: where it does not fit there, the
        end of the text and the footer make one more.
        """
        line = shorten(" ".join(clean(text).split()), self._header_budget - len(_SMALL))
        if line and not is_blank(self.text):
            self._footer = f"{_SMALL}{line}"
            self._budget_changed()

    @property
    def text(self) -> str:
        """All of the text, as it is shown; its end may still be as it came."""
        return self._splitter.text if self._adapter is None else f"{self._splitter.text}{self._adapter.held}"

    def bodies(self) -> list[str]:
        """What to show now: each within the limit, none of them blank."""
        return list(map("".join, self._pieces()))

    def interrupt(self) -> bool:
        """The turn is over: no tool runs any more. Return whether one did."""
        header = self._header.interrupted()
        if header is not None:
            self._header, self._header_changed = header, True
        return header is not None

    def first_if_interrupted(self) -> str | None:
        """The first body as a restart leaves it, with no tool that runs; ``None`` where none runs now."""
        header = self._header.interrupted()
        if header is None:
            return None
        bodies, shown = self.bodies(), self._header_text
        return f"{header.render(units(shown))}{bodies[0][len(shown) :]}" if shown else None

    @property
    def shows_thoughts(self) -> bool:
        """Whether more of what the agent thinks would be shown."""
        return self._thoughts_left > 0 and self._adapter is not None

    @property
    def shows_time(self) -> bool:
        """Whether the bodies change while time passes: a tool runs."""
        return self._header.second > 0

    def parts(self) -> list[Body]:
        """The same bodies in their parts. White space alone gives no body."""
        pieces = self._pieces()
        raws = self._shown().raws()
        raws += [""] * (len(pieces) - len(raws))
        return [Body(*piece, raw) for piece, raw in zip(pieces, raws, strict=True)]

    def overflow(self) -> str | None:
        """The text past the last body, and only that; ``None`` for none."""
        shown = self._shown()
        return shown.rest if shown.rest_length else None

    def _shown(self) -> Splitter:
        """The text as it would be shown if it ended now."""
        if self._with_held is None:
            held = "" if self._adapter is None else self._adapter.if_it_ended()
            self._with_held = self._splitter
            if held:
                self._with_held = self._splitter.fork()
                self._with_held.feed(held)
        return self._with_held

    def _budget_changed(self) -> None:
        self._splitter.budget_changed()
        self._with_held = None

    # The header.

    def _budget(self, index: int) -> int:
        budget = self._limit
        if index == 0:
            budget -= max(self._header_budget, self._header_size + 1)
        if index == self._max - 1:
            budget -= self._notice_budget
        else:
            budget -= units(self._footer)
        return budget

    def _update_header(self) -> None:
        """Render it anew where it has changed: only before something depends on it, not at each of many changes."""
        second = self._header.second
        if not self._header_changed and second == self._header_second:
            return
        self._header_changed, self._header_second = False, second
        before = self._header_size
        if self._splitter.closed:
            first = self._splitter.closed[0]
            budget = self._limit - units("".join(first)) - 1 - (self._notice_budget if self._max == 1 else 0)
            self._header_text = self._header.render(budget)
        else:
            self._header_text = self._header.render(self._limit // 2)
            self._header_size = units(self._header_text)
            if self._header_size > before:
                self._budget_changed()

    # All of it.

    def _pieces(self) -> list[Piece]:
        self._update_header()
        splitter = self._shown()
        pieces = list(splitter.closed)
        growing = splitter.open()
        if growing is not None:
            pieces.append(growing)
        if self._header_text:
            first = pieces[0] if pieces else Piece("", "", "")
            header = f"{self._header_text}\n" if pieces else self._header_text
            pieces[:1] = [first._replace(before=header + first.before)]
        end = len(pieces) - 1
        if self._notices or splitter.rest_length:
            self._add_notices(pieces)
        if self._footer:
            pieces[end] = pieces[end]._replace(after=pieces[end].after + self._footer)
        return pieces

    def _add_notices(self, pieces: list[Piece]) -> None:
        left = self._shown().rest_length
        more = ["… The rest is in the attached file."] if left else []
        notices = "\n".join((*more, *self._notices))
        free = self._limit - units("".join(pieces[-1])) - units(self._footer) - 1 if pieces else 0
        if units(notices) > free and len(pieces) < self._max:
            pieces.append(Piece("", "", shorten(notices, self._limit)))
        else:
            last = pieces[-1]
            pieces[-1] = last._replace(after=f"{last.after}\n{shorten(notices, free)}")
