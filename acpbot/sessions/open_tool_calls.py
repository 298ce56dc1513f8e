"""The tool calls of a running turn that have not ended, what they are about, and the time limits that they declare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp import bounds, schema
from acpbot.sessions.views import ToolCallRow

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST: Final = 256
_KEPT_MOST: Final = 64 * 1024
"""Bytes of JSON of a call's input, and of its content, that are kept; so many for all calls together:"""
_ALL_KEPT_MOST: Final = 256 * 1024
_LONGEST_MS: Final = 4 * 3600 * 1000
_ENDS: Final = frozenset({"completed", "failed"})


@dataclass(slots=True)
class OpenToolCall:
    """What is known of an open call from all of its updates; ``raw_input`` and ``content`` are ACP's.

    ``cut``: something of it was too long to be kept, so it is not the whole of what the agent said.
    """

    since: float
    title: str
    kind: str | None = None
    status: str | None = None
    raw_input: Any = None
    content: list[dict[str, Any]] | None = None
    cut: bool = False
    limit_seconds: float | None = None
    size: int = 0


class OpenToolCalls:
    """Keeps at most 256 open calls; agents report a call by ``tool_call``, or only by ``tool_call_update``.

    The inputs and contents of all together take 256 KiB of JSON at most; past that a call is kept without them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: dict[str, OpenToolCall] = {}
        self._ended: dict[int, None] = {}  # hashes of the latest ids: an agent may report on after the end
        self._size = 0

    @property
    def activity(self) -> str | None:
        """The title of the call that started last and still runs."""
        for call in reversed(self._calls.values()):
            return call.title
        return None

    @property
    def within_limit(self) -> bool:
        """Whether a call runs that has a time limit of its own, and has not used it up."""
        now = self._clock()
        return any(
            call.limit_seconds is not None and now - call.since < call.limit_seconds for call in self._calls.values()
        )

    def get(self, tool_call_id: str) -> OpenToolCall | None:
        """The open call of that id, as far as it was reported."""
        return self._calls.get(bounds.identity(tool_call_id))

    def begins(self, update: schema.Update) -> bool:
        """Whether this update is the first of its call."""
        call = schema.tool_call(update.body)
        if call is None or update.kind == "tool_call":
            return update.kind == "tool_call" and (call is None or call.tool_call_id not in self._calls)
        is_late = call.status in _ENDS and hash(call.tool_call_id) in self._ended
        return call.tool_call_id not in self._calls and not is_late

    def handle(self, body: dict[str, Any], *, cut: bool = False) -> str | None:
        """Note an update; return a line for the record where a call starts or ends, else ``None``.

        ``cut`` as in :class:`~acpbot.acp.schema.Update`.
        """
        update = schema.tool_call(body)
        if update is None:
            return None
        if update.status in _ENDS:
            ended = self._calls.pop(update.tool_call_id, None)
            self._size -= 0 if ended is None else ended.size
            if ended is None and hash(update.tool_call_id) in self._ended:
                return None
            self._ended[hash(update.tool_call_id)] = None
            if len(self._ended) > _MOST:
                del self._ended[next(iter(self._ended))]
            title = update.title or (ended and ended.title) or update.tool_call_id
            return f"{update.status}: {title}"
        call = self._calls.get(update.tool_call_id)
        line = None
        if call is None:
            if len(self._calls) >= _MOST:
                return None
            call = self._calls[update.tool_call_id] = OpenToolCall(self._clock(), update.title or update.tool_call_id)
            line = f"running: {call.title}"
        call.title = update.title or call.title
        call.kind = update.kind or call.kind
        call.status = update.status or call.status
        call.cut = call.cut or cut
        self._keep(call, body)
        call.limit_seconds = _declared_limit(body.get("rawInput")) or call.limit_seconds
        return line

    def clear(self) -> None:
        """Forget all calls: their turn is over."""
        self._calls.clear()
        self._size = 0

    def _keep(self, call: OpenToolCall, body: dict[str, Any]) -> None:
        raw_input = body.get("rawInput", call.raw_input)
        content = body["content"] if isinstance(body.get("content"), list) else call.content
        if raw_input is call.raw_input and content is call.content:
            return
        sizes = _size(raw_input), _size(content)
        added = sum(sizes) - call.size
        if max(sizes) > _KEPT_MOST or self._size + added > _ALL_KEPT_MOST:
            raw_input, content, call.cut, added = None, None, True, -call.size
        call.raw_input, call.content = raw_input, content
        call.size += added
        self._size += added

    def rows(self) -> list[ToolCallRow]:
        """A snapshot, oldest first."""
        now = self._clock()
        rows = []
        for identity, call in self._calls.items():
            seconds = round(now - call.since, 3)
            row = ToolCallRow(
                tool_call_id=identity, title=call.title, kind=call.kind, status=call.status, seconds=seconds
            )
            rows.append(row)
        return rows


def _size(value: Any) -> int:
    return 0 if value is None else len(msgspec.json.encode(value))


def _declared_limit(raw_input: Any) -> float | None:
    """The time limit in a tool's input, in seconds: agents name it ``timeout`` or ``timeout_ms``, in milliseconds."""
    if not isinstance(raw_input, dict):
        return None
    found = (raw_input.get(name) for name in ("timeout_ms", "timeoutMs", "timeout"))
    milliseconds = next(
        (value for value in found if isinstance(value, int | float) and not isinstance(value, bool)), None
    )
    if milliseconds is None or not 0 < milliseconds <= _LONGEST_MS:
        return None
    return milliseconds / 1000


def nothing_known(_tool_call_id: str) -> None:
    """A sub-agent's tool calls are not part of this conversation."""
