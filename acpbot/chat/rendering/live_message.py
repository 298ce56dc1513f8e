"""A growing answer as a list of message bodies, each within a platform's limit. Pure: no I/O, no clock, no platform.

The first body begins with the header (tools and plan), the last one ends with the bot's own notices; between them is
the agent's text, split by :mod:`.splitter`. The text of a full body does not change any more: what comes later
changes at most the header of the first. What is left after ``max_bodies`` is for a file.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from acpbot.chat.rendering.markdown import code, plain
from acpbot.chat.rendering.splitter import Piece, Splitter
from acpbot.chat.rendering.tables import TableMode, Tables
from acpbot.text import clean, is_blank, one_line, shorten, units

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ToolDisplay = Literal["full", "compact", "none"]

LIMIT_MIN: Final = 400
_NOTICES_MAX: Final = 5
_NOTICE_MAX: Final = 300
_SMALL: Final = "\n-# "
_LINES_MAX: Final = 3
_CALLS_MAX: Final = 1024
_TITLE_MAX: Final = 100
# More than is shown, since spaces and characters that can't be seen do not count.
_KEPT_TITLE: Final = 500
_ENTRY_MAX: Final = 120
INTERRUPTED: Final = "interrupted"
"""The status of a tool call that will not go on: its turn is over."""
_TOOL_ICONS: Final = {"completed": "✅", "failed": "❌", INTERRUPTED: "⏹️"}
_PLAN_ICONS: Final = {"completed": "☑", "in_progress": "▶"}


class _Tool(NamedTuple):
    title: str
    status: str

    def __str__(self) -> str:
        return f"{_TOOL_ICONS.get(self.status, '🔧')} {code(self.title if self.title.strip() else 'tool', _TITLE_MAX)}"


class Header:
    """Tool lines and plan. Both are replaced in place.

    Of the latest 1,024 calls it knows what each is; of older ones only how many there were. So a change costs the same
    however many there are.
    """

    def __init__(self, tool_display: ToolDisplay) -> None:
        self._display = tool_display
        self._tools: OrderedDict[str, _Tool] = OrderedDict()
        self._running: OrderedDict[str, _Tool] = OrderedDict()
        self._counts = dict.fromkeys(_TOOL_ICONS, 0)
        self._total = 0
        self._forgotten_running = 0
        self._plan = self._step = ""

    def tool(self, tool_call_id: str, *, title: str | None, kind: str | None, status: str | None) -> None:
        """Add or change a tool call; ``None`` leaves what was known. Unknown statuses count as running."""
        known = self._tools.get(tool_call_id)
        if known is None:
            known = _Tool(kind or "", "pending")
            if status in self._counts and self._forgotten_running:
                self._forgotten_running -= 1  # most likely the end of one of those
            else:
                self._total += 1
        elif known.status in self._counts:
            self._counts[known.status] -= 1
        tool = _Tool((title or known.title)[:_KEPT_TITLE], status or known.status)
        if tool.status in self._counts:
            self._counts[tool.status] += 1
            self._running.pop(tool_call_id, None)
        else:
            self._running[tool_call_id] = tool
        self._tools[tool_call_id] = tool
        if len(self._tools) > _CALLS_MAX:
            oldest, _ = self._tools.popitem(last=False)
            if self._running.pop(oldest, None) is not None:
                self._forgotten_running += 1

    def plan(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Replace the plan: ACP plan entries (``content``, ``status``)."""
        steps = [(str(entry.get("content", "")), str(entry.get("status", ""))) for entry in entries]
        self._plan = "\n".join(f"{_PLAN_ICONS.get(status, '☐')} {_plain(content)}" for content, status in steps)
        self._step = _current_step(steps)

    def interrupted(self) -> Header | None:
        """The same with no tool running: those that do are interrupted. ``None`` where none runs."""
        if not self._running_count:
            return None
        made = copy.copy(self)
        stopped = {key: tool._replace(status=INTERRUPTED) for key, tool in self._running.items()}
        made._tools = OrderedDict({**self._tools, **stopped})  # noqa: SLF001 - of the same class
        made._counts = {**self._counts, INTERRUPTED: self._running_count}  # noqa: SLF001 - the same
        made._running, made._forgotten_running = OrderedDict(), 0  # noqa: SLF001 - the same
        return made

    def render(self, budget: int) -> str:
        """All of it, in as much detail as fits into so many UTF-16 code units, on lines; empty for nothing."""
        full, short = self._tool_lines(), self._tool_summary()
        plan, step = [self._plan] if self._plan else [], [self._step] if self._step else []
        for lines in ([*full, *plan], [*short, *plan], [*short, *step]):
            text = "\n".join(lines)
            if units(text) <= budget:
                return text
        # Without inline code: half of it would turn what follows into code.
        return shorten(" · ".join((*short, *step)).replace("`", ""), budget)

    def _tool_lines(self) -> list[str]:
        if self._display != "full":
            return self._tool_summary()
        if self._total <= _LINES_MAX:
            return [str(tool) for tool in self._tools.values()]
        running = [str(tool) for tool in islice(reversed(self._running.values()), _LINES_MAX)][::-1]
        more = self._running_count - len(running)
        return [*self._finished(), *([f"🔧 {more} more"] if more else []), *running]

    def _tool_summary(self) -> list[str]:
        if self._display == "none" or not self._tools:
            return []
        running = [str(next(reversed(self._running.values())))] if self._running else []
        left = self._running_count - len(running)
        more = [f"🔧 {left} more"] if left else []
        return [" · ".join((*running, *more, *self._finished()))]

    @property
    def _running_count(self) -> int:
        return len(self._running) + self._forgotten_running

    def _finished(self) -> list[str]:
        done, failed = self._counts["completed"], self._counts["failed"]
        parts = [f"✅ {done} tool{'s' * (done != 1)}"] if done else []
        if failed:
            parts.append(f"❌ {failed}" if done else f"❌ {failed} tool{'s' * (failed != 1)}")
        if stopped := self._counts[INTERRUPTED]:
            parts.append(f"{_TOOL_ICONS[INTERRUPTED]} {stopped} interrupted")
        return [" · ".join(parts)] if parts else []


def _current_step(plan: Sequence[tuple[str, str]]) -> str:
    """One line for all of a plan: the step that is worked on, and how many are done."""
    if not plan:
        return ""
    done = sum(status == "completed" for _, status in plan)
    count = f"({done}/{len(plan)})"
    current = next((content for content, status in plan if status == "in_progress"), None)
    if current is not None:
        return f"▶ {_plain(current)} {count}"
    return f"{'☑' if done == len(plan) else '☐'} Plan {count}"


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
    ``tables``: how Markdown tables are shown, see :class:`Tables`.
    """

    def __init__(
        self, *, limit: int = 2000, max_bodies: int = 5, tool_display: ToolDisplay = "full", tables: TableMode = "off"
    ) -> None:
        if limit < LIMIT_MIN or max_bodies < 1:
            raise ValueError(f"cannot split into {max_bodies} bodies of {limit}: the least is 1 body of {LIMIT_MIN}")
        self._limit = limit
        self._max = max_bodies
        self._header_budget = limit // 10
        self._notice_budget = limit // 5
        self._header = Header(tool_display)
        self._header_text = ""
        self._header_size = 0
        self._header_changed = False
        self._notices: list[str] = []
        self._footer = ""
        self._tables = None if tables == "off" else Tables(tables)
        self._splitter = Splitter(self._budget, max_bodies)

    def append(self, text: str) -> None:
        """Add a chunk of the agent's text. How a text is cut into chunks makes no difference to the bodies."""
        if self._tables is not None:
            text = self._tables.feed(text)
        if text:
            self._update_header()
            self._splitter.feed(text)

    def finish(self) -> None:
        """The text has ended: show what was held back of a table."""
        tables, self._tables = self._tables, None
        if tables is not None:
            self.append(tables.finish())

    def tool(self, tool_call_id: str, *, title: str | None, kind: str | None, status: str | None) -> None:
        """Show a tool call or its new status; ``None`` leaves what was known."""
        self._header.tool(tool_call_id, title=title, kind=kind, status=status)
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
            self._splitter.budget_changed()

    @property
    def text(self) -> str:
        """All of the text, byte for byte, with its tables as they are shown."""
        return self._splitter.text

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

    def parts(self) -> list[Body]:
        """The same bodies in their parts. White space alone gives no body."""
        pieces = self._pieces()
        raws = self._splitter.raws()
        raws += [""] * (len(pieces) - len(raws))
        return [Body(*piece, raw) for piece, raw in zip(pieces, raws, strict=True)]

    def overflow(self) -> str | None:
        """The text past the last body, and only that; ``None`` for none."""
        return self._splitter.rest if self._splitter.rest_length else None

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
        if not self._header_changed:
            return
        self._header_changed = False
        before = self._header_size
        if self._splitter.closed:
            first = self._splitter.closed[0]
            budget = self._limit - units("".join(first)) - 1 - (self._notice_budget if self._max == 1 else 0)
            self._header_text = self._header.render(budget)
        else:
            self._header_text = self._header.render(self._limit // 2)
            self._header_size = units(self._header_text)
            if self._header_size > before:
                self._splitter.budget_changed()

    # All of it.

    def _pieces(self) -> list[Piece]:
        self._update_header()
        pieces = list(self._splitter.closed)
        growing = self._splitter.open()
        if growing is not None:
            pieces.append(growing)
        if self._header_text:
            first = pieces[0] if pieces else Piece("", "", "")
            header = f"{self._header_text}\n" if pieces else self._header_text
            pieces[:1] = [first._replace(before=header + first.before)]
        end = len(pieces) - 1
        if self._notices or self._splitter.rest_length:
            self._add_notices(pieces)
        if self._footer:
            pieces[end] = pieces[end]._replace(after=pieces[end].after + self._footer)
        return pieces

    def _add_notices(self, pieces: list[Piece]) -> None:
        left = self._splitter.rest_length
        more = [f"… {left:,} more character{'s are' if left != 1 else ' is'} in the attached file."] if left else []
        notices = "\n".join((*more, *self._notices))
        free = self._limit - units("".join(pieces[-1])) - units(self._footer) - 1 if pieces else 0
        if units(notices) > free and len(pieces) < self._max:
            pieces.append(Piece("", "", shorten(notices, self._limit)))
        else:
            last = pieces[-1]
            pieces[-1] = last._replace(after=f"{last.after}\n{shorten(notices, free)}")


def _plain(text: str) -> str:
    """One line of it, without markup."""
    return plain(one_line(text, _ENTRY_MAX))
