"""What the tool calls of one turn were, how long they took and what came of them, as plain text. Pure.

It is bounded: the first 200 calls, of a result its beginning and its end, and 128 KiB of results together.
Source: https://agentclientprotocol.com/protocol/tool-calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp import schema
from acpbot.chat.rendering.tools import detail
from acpbot.text import clean, one_line
from acpbot.times import short_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CALLS_MOST: Final = 200
RESULTS_MOST: Final = 128 * 1024
"""Characters of all results."""

_RESULT_MAX: Final = 4000
_TITLE_MAX: Final = 200
_BLOCKS_MAX: Final = 16
_TEXTS: Final = ("formatted_output", "aggregated_output", "stdout", "stderr", "output", "content", "text", "error")
_ENDED: Final = frozenset({"completed", "failed"})


class _Call(msgspec.Struct):
    began: float
    title: str = ""
    about: str = ""
    status: str = "pending"
    seconds: float | None = None
    result: str = ""
    waits_since: float | None = None


class ToolLog:
    """Collects the tool calls of one turn. ``clock``: seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: dict[str, _Call] = {}
        self._size = 0
        self._more = 0

    def note(self, body: dict[str, Any]) -> None:
        """Note a ``tool_call`` or ``tool_call_update``."""
        update = schema.tool_call(body)
        if update is None:
            return
        call = self._calls.get(update.tool_call_id)
        if call is None:
            if len(self._calls) >= CALLS_MOST:
                self._more += body.get("sessionUpdate") == "tool_call"
                return
            call = self._calls[update.tool_call_id] = _Call(self._clock())
        call.title = one_line(update.title or "", _TITLE_MAX) or call.title
        call.about = detail(body) or call.about
        call.status = one_line(update.status or "", _TITLE_MAX) or call.status
        if call.status in _ENDED and call.seconds is None:
            end = self._clock() if call.waits_since is None else call.waits_since
            call.seconds = end - call.began
        result = _result(body)
        if result and self._size - len(call.result) + len(result) <= RESULTS_MOST:
            self._size += len(result) - len(call.result)
            call.result = result

    def waits(self, tool_call_id: str, *, on: bool) -> None:
        """A tool call waits for a person's permission, or does so no more: that is no time that it runs."""
        call = self._calls.get(tool_call_id)
        if call is None or on == (call.waits_since is not None):
            return
        now = self._clock()
        if call.waits_since is not None:
            call.began += now - call.waits_since
        call.waits_since = now if on else None

    @property
    def count(self) -> int:
        """How many calls it holds."""
        return len(self._calls)

    def text(self) -> str:
        """All of it, for a file."""
        parts = ["\n".join(_lines(number, call)) for number, call in enumerate(self._calls.values(), 1)]
        if self._more:
            parts.append(f"{self._more:,} more tool calls are not in this list.")
        return "\n\n".join(parts) + "\n"


def _lines(number: int, call: _Call) -> Iterator[str]:
    took = "" if call.seconds is None else f", {short_duration(call.seconds)}"
    yield f"{number}. {call.title or 'tool'} ({call.status if call.status in _ENDED else 'not finished'}{took})"
    if call.about and call.about != call.title:
        yield from (f"   {line}" for line in clean(call.about).split("\n"))
    if call.result:
        yield from (f"   | {line}" for line in clean(call.result).rstrip("\n").split("\n"))


def _result(body: dict[str, Any]) -> str:
    content = body.get("content")
    texts: list[str] = []
    for item in content[:_BLOCKS_MAX] if isinstance(content, list) else ():
        block = item.get("content") if isinstance(item, dict) else None
        text = block.get("text") if isinstance(block, dict) else None
        if isinstance(text, str) and text.strip():
            texts.append(text)
    if not texts:
        raw = body.get("rawOutput")
        found = [raw] if isinstance(raw, str) else [raw.get(name) for name in _TEXTS] if isinstance(raw, dict) else []
        texts = [text for text in found if isinstance(text, str) and text.strip()][:2]
    return _cut("\n".join(texts))


def _cut(text: str) -> str:
    """Its beginning and its end, where it is long."""
    if len(text) <= _RESULT_MAX:
        return text
    half = _RESULT_MAX // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters are left out here]\n{text[-half:]}"
