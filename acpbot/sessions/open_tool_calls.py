"""The tool calls of a running turn that have not ended, and the time limits that they declare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from acpbot.acp import schema
from acpbot.sessions.views import ToolCallRow

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST: Final = 256
_LONGEST_MS: Final = 4 * 3600 * 1000


@dataclass(slots=True)
class OpenToolCall:
    """A tool call that has not ended; ``raw_input`` and ``content`` are ACP's, ``None`` where it has none.

    ``cut``: a part of ``raw_input`` or ``content`` is left out.
    """

    since: float
    title: str
    kind: str | None = None
    status: str | None = None
    limit_seconds: float | None = None
    raw_input: Any = None
    content: Any = None
    cut: bool = False


class OpenToolCalls:
    """Keeps at most 256 open calls; agents report a call by ``tool_call``, or only by ``tool_call_update``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: dict[str, OpenToolCall] = {}

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
        return self._calls.get(tool_call_id)

    def handle(self, body: dict[str, Any], *, cut: bool = False) -> str | None:
        """Note an update; return a line for the record where a call starts or ends, else ``None``.

        ``cut``: a part of the update was left out.
        """
        update = schema.tool_call(body)
        if update is None:
            return None
        if update.status in {"completed", "failed"}:
            ended = self._calls.pop(update.tool_call_id, None)
            return None if ended is None else f"{update.status}: {update.title or ended.title}"
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
        call.raw_input = body.get("rawInput") or call.raw_input
        call.content = body.get("content") or call.content
        call.cut = call.cut or cut
        call.limit_seconds = _declared_limit(body.get("rawInput")) or call.limit_seconds
        return line

    def clear(self) -> None:
        """Forget all calls: their turn is over."""
        self._calls.clear()

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
