"""The header of an answer: the tools that run, and the agent's plan."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from acpbot.text import shorten, units

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ToolDisplay = Literal["full", "compact", "none"]

_LINES_MAX: Final = 3
_TITLE_MAX: Final = 100
_ENTRY_MAX: Final = 120
_TOOL_ICONS: Final = {"completed": "✅", "failed": "❌"}
_PLAN_ICONS: Final = {"completed": "☑", "in_progress": "▶"}
_MARKUP: Final = re.compile(r"([\\`*_~|\[\]<>])")


class _Tool(NamedTuple):
    title: str
    status: str

    def __str__(self) -> str:
        # Discord shows inline code as it is: no markup, no mention, no link preview.
        words = " ".join(self.title.replace("`", "'").split()) or "tool"
        return f"{_TOOL_ICONS.get(self.status, '🔧')} `{shorten(words, _TITLE_MAX)}`"


class Header:
    """Tool lines and plan. Both are replaced in place."""

    def __init__(self, tool_display: ToolDisplay) -> None:
        self._display = tool_display
        self._tools: dict[str, _Tool] = {}
        self._running: dict[str, _Tool] = {}
        self._counts = dict.fromkeys(_TOOL_ICONS, 0)
        self._plan: list[tuple[str, str]] = []

    def tool(self, tool_call_id: str, *, title: str | None, kind: str | None, status: str | None) -> None:
        """Add or change a tool call; ``None`` leaves what was known. Unknown statuses count as running."""
        known = self._tools.get(tool_call_id, _Tool(kind or "", "pending"))
        tool = _Tool(title or known.title, status or known.status)
        if known.status in self._counts and tool_call_id in self._tools:
            self._counts[known.status] -= 1
        if tool.status in self._counts:
            self._counts[tool.status] += 1
            self._running.pop(tool_call_id, None)
        else:
            self._running[tool_call_id] = tool
        self._tools[tool_call_id] = tool

    def plan(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Replace the plan: ACP plan entries (``content``, ``status``)."""
        self._plan = [(str(entry.get("content", "")), str(entry.get("status", ""))) for entry in entries]

    def render(self, budget: int) -> str:
        """All of it, in as much detail as fits into so many UTF-16 code units, on lines; empty for nothing."""
        full, short = self._tool_lines(), self._tool_summary()
        plan, step = self._plan_lines(), self._plan_summary()
        for lines in ([*full, *plan], [*short, *plan], [*short, *step]):
            text = "\n".join(lines)
            if units(text) <= budget:
                return text
        # Without inline code: half of it would turn what follows into code.
        return shorten(" · ".join((*short, *step)).replace("`", ""), budget)

    def _tool_lines(self) -> list[str]:
        if self._display != "full":
            return self._tool_summary()
        if len(self._tools) <= _LINES_MAX:
            return [str(tool) for tool in self._tools.values()]
        running = [str(tool) for tool in list(self._running.values())[-_LINES_MAX:]]
        more = len(self._running) - len(running)
        return [*self._finished(), *([f"🔧 {more} more"] if more else []), *running]

    def _tool_summary(self) -> list[str]:
        if self._display == "none" or not self._tools:
            return []
        running = [str(list(self._running.values())[-1])] if self._running else []
        more = [f"🔧 {len(self._running) - 1} more"] if len(self._running) > 1 else []
        return [" · ".join((*running, *more, *self._finished()))]

    def _finished(self) -> list[str]:
        done, failed = self._counts["completed"], self._counts["failed"]
        parts = [f"✅ {done} tool{'s' * (done != 1)}"] if done else []
        if failed:
            parts.append(f"❌ {failed}" if done else f"❌ {failed} tool{'s' * (failed != 1)}")
        return [" · ".join(parts)] if parts else []

    def _plan_lines(self) -> list[str]:
        return [f"{_PLAN_ICONS.get(status, '☐')} {_plain(content)}" for content, status in self._plan]

    def _plan_summary(self) -> list[str]:
        if not self._plan:
            return []
        done = sum(status == "completed" for _, status in self._plan)
        count = f"({done}/{len(self._plan)})"
        current = next((content for content, status in self._plan if status == "in_progress"), None)
        if current is not None:
            return [f"▶ {_plain(current)} {count}"]
        return [f"{'☑' if done == len(self._plan) else '☐'} Plan {count}"]


def _plain(text: str) -> str:
    """One line of it, without markup."""
    return _MARKUP.sub(r"\\\1", shorten(" ".join(text.split()), _ENTRY_MAX))
