"""What is above an answer: the tools that the agent uses, and its plan. Pure: the clock is given."""

from __future__ import annotations

import copy
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from acpbot.chat.rendering.markdown import plain
from acpbot.chat.rendering.tools import DETAIL_MAX, tool_text
from acpbot.text import one_line, shorten, units
from acpbot.times import short_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ToolDisplay = Literal["full", "compact", "none"]

LINES_MAX: Final = 3
"""Of more tool calls some have no line of their own."""
_CALLS_MAX: Final = 1024
_SECONDS_MIN: Final = 5
"""Of a tool; a shorter time is not shown."""
# More than is shown, since spaces and characters that can't be seen do not count.
_KEPT_TITLE: Final = 500
_ENTRY_MAX: Final = 120
INTERRUPTED: Final = "interrupted"
"""The status of a tool call that will not go on: its turn is over."""
_TOOL_ICONS: Final = {"completed": "✅", "failed": "❌", INTERRUPTED: "⏹️"}
_PLAN_ICONS: Final = {"completed": "☑", "in_progress": "▶", "cancelled": "☒"}


class _Tool(NamedTuple):
    title: str
    kind: str
    detail: str
    status: str
    began: float
    seconds: float | None  # that it took, once it has ended
    waits_since: float | None = None  # a person's permission

    def ran(self, now: float | None) -> float:
        """How long it has run."""
        end = now if self.waits_since is None else self.waits_since
        return 0.0 if end is None else end - self.began

    def line(self, now: float | None, *, short: bool = False) -> str:
        """What it does, and how long it has taken. ``short``: on one line in any case."""
        about = " ".join(self.detail.split()) if short else self.detail
        text = f"{_TOOL_ICONS.get(self.status, '🔧')} {tool_text(self.title, self.kind, about)}"
        if self.seconds is not None:
            took = f" · {short_duration(self.seconds)}" if self.seconds >= _SECONDS_MIN else ""
        else:
            ran = self.ran(now)
            took = f" · running {short_duration(ran)}" if ran >= _SECONDS_MIN else ""
        first, feed, rest = text.partition("\n")
        return f"{first.removesuffix(':')}{took}:\n{rest}" if feed else f"{first}{took}"


class Header:
    """Tool lines and plan. Both are replaced in place.

    Of the latest 1,024 calls it knows what each is; of older ones only how many there were. So a change costs the same
    however many there are.
    """

    def __init__(self, tool_display: ToolDisplay, clock: Callable[[], float] | None = None) -> None:
        self._display = tool_display
        self._clock = clock
        self._tools: OrderedDict[str, _Tool] = OrderedDict()
        self._running: OrderedDict[str, _Tool] = OrderedDict()
        self._counts = dict.fromkeys(_TOOL_ICONS, 0)
        self._total = 0
        self._forgotten_running = 0
        self._plan = self._step = ""

    def tool(
        self, tool_call_id: str, *, title: str | None, kind: str | None, status: str | None, detail: str | None = None
    ) -> None:
        """Add or change a tool call; ``None`` leaves what was known. Unknown statuses count as running."""
        now = None if self._clock is None else self._clock()
        known = self._tools.get(tool_call_id)
        if known is None:
            known = _Tool("", kind or "", "", "pending", now or 0.0, None)
            if status in self._counts and self._forgotten_running:
                self._forgotten_running -= 1  # most likely the end of one of those
            else:
                self._total += 1
        elif known.status in self._counts:
            self._counts[known.status] -= 1
        tool = known._replace(
            title=(title or known.title)[:_KEPT_TITLE],
            kind=kind or known.kind,
            detail=(detail or known.detail)[:DETAIL_MAX],
            status=status or known.status,
        )
        if tool.status not in self._counts:
            tool = tool._replace(seconds=None)
        elif now is not None and tool.seconds is None:
            tool = tool._replace(seconds=tool.ran(now))
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

    def waits(self, tool_call_id: str, *, on: bool) -> None:
        """A running tool call waits for a person's permission, or does so no more: that is no time that it runs."""
        now, tool = None if self._clock is None else self._clock(), self._running.get(tool_call_id)
        if tool is None or now is None or on == (tool.waits_since is not None):
            return
        began = tool.began if tool.waits_since is None else tool.began + now - tool.waits_since
        changed = tool._replace(began=began, waits_since=now if on else None)
        self._tools[tool_call_id] = self._running[tool_call_id] = changed

    def forget(self, tool_call_id: str) -> None:
        """Leave a tool call out: it is shown as something else."""
        known = self._tools.pop(tool_call_id, None)
        if known is not None:
            self._total -= 1
            self._running.pop(tool_call_id, None)
            if known.status in self._counts:
                self._counts[known.status] -= 1

    @property
    def second(self) -> int:
        """The present second where the time of a running tool is shown, else 0."""
        return int(self._clock()) if self._running and self._clock is not None and self._display != "none" else 0

    def plan(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Replace the plan: ACP plan entries (``content``, ``status``)."""
        steps = [(str(entry.get("content", "")), str(entry.get("status", ""))) for entry in entries]
        self._plan = "\n".join(f"{_PLAN_ICONS.get(status, '☐')} {_plain(content)}" for content, status in steps)
        self._step = _current_step(steps)

    def interrupted(self) -> Header | None:
        """The same with no tool running: those that do are interrupted. ``None`` where none runs."""
        if not self._running_count:
            return None
        now = None if self._clock is None else self._clock()
        made = copy.copy(self)
        stopped = {key: tool._replace(status=INTERRUPTED, seconds=tool.ran(now)) for key, tool in self._running.items()}
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
        now = None if self._clock is None else self._clock()
        if self._total <= LINES_MAX:
            return [tool.line(now) for tool in self._tools.values()]
        running = [tool.line(now) for tool in islice(reversed(self._running.values()), LINES_MAX)][::-1]
        more = self._running_count - len(running)
        return [*self._finished(), *([f"🔧 {more} more"] if more else []), *running]

    def _tool_summary(self) -> list[str]:
        if self._display == "none" or not self._tools:
            return []
        now = None if self._clock is None else self._clock()
        running = [next(reversed(self._running.values())).line(now, short=True)] if self._running else []
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


def _plain(text: str) -> str:
    """One line of it, without markup."""
    return plain(one_line(text, _ENTRY_MAX))
