"""One turn as events: what a chat without a window of its own, such as a terminal, is told of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp import schema
from acpbot.chat.place_text import place_text
from acpbot.sessions.permission_notes import because
from acpbot.sessions.views import option_rows, question_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.schema import Update
    from acpbot.chat.rendering.answer import Answer
    from acpbot.sessions.questions import Question
    from acpbot.sessions.turn import PermissionNote, PermissionRequest, Place, TurnEnd

Event = dict[str, Any]

_INTERRUPTED: Final = "Interrupted to send the next message."
_NUMBERS: Final = re.compile(r"[0-9]+")


class TurnEvents:
    """A :class:`~acpbot.chat.platform.TurnView` that makes ``chat.event``s (docs/protocol.md), without ``thread``.

    ``emit`` takes each of them, and may not block.
    """

    def __init__(self, emit: Callable[[Event], None], prompt: str) -> None:
        self.begin: Event = {"type": "turn_start", "prompt": prompt}
        self.requests: dict[str, Event] = {}
        """The permission requests and questions that are open, by their names."""
        self._emit = emit
        self._live: Answer | None = None
        self._end: Event | None = None
        self._start = ""

    def on_queued(self, place: Place) -> None:
        """The turn waits. A start says the same again and again with other numbers: that is one event."""
        start, self._start = self._start, _NUMBERS.sub("", place.start)
        is_news = self._start not in {"", start} if place.start else place.in_line is not None
        if is_news and not place.ahead:
            self._emit({"type": "notice", "text": place_text(place)})

    def on_started(self) -> None:
        """The turn runs."""
        self._emit(self.begin)

    def on_update(self, live: Answer, update: Update) -> None:
        """The answer has changed."""
        self._live = live
        event = update_event(update)
        if event is not None:
            self._emit(event)

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """A permission is wanted."""
        self._ask(ask.request, asked_event(ask))

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """It needs no answer any more."""
        self.requests.pop(ask.request, None)
        chosen = None if ask.chosen is None else ask.chosen.option_id
        event = {"type": "permission_end", "request": ask.request, "outcome": ask.outcome, "option_id": chosen}
        self._emit({**event, "reason": None if ask.reason is None else because(ask.reason)})

    def on_question(self, question: Question) -> None:
        """The agent asks something."""
        self._ask(question.request, question_event(question))

    def on_question_closed(self, question: Question) -> None:
        """It needs no answer any more."""
        self.requests.pop(question.request, None)
        self._emit({"type": "question_end", "request": question.request, "outcome": question.outcome})

    def on_permission_note(self, live: Answer, note: PermissionNote) -> None:
        """A permission request was answered, and no person did it."""
        self._live = live
        self._emit({"type": "notice", "text": note.line})

    def on_ended(self, live: Answer, end: TurnEnd, on_persisted: Callable[[], None]) -> None:
        """The turn is over."""
        self._live = None
        self._over(end_event(live, end))
        on_persisted()

    def on_deferred(self) -> None:
        """The next run of the daemon makes the turn again."""
        error = "I'm restarting; your message is saved and runs once I'm back"
        self._over({"type": "turn_end", "stop_reason": "kept", "text": "", "error": error})

    def on_refused(self) -> None:
        """Nothing is held for a turn that has not begun."""

    @property
    def is_over(self) -> bool:
        """Whether the turn has ended."""
        return self._end is not None

    def snapshot(self) -> list[Event]:
        """The turn as it is now: its beginning and the text so far, or its end."""
        if self._end is not None:
            return [self._end]
        text = "" if self._live is None else self._live.text
        return [self.begin, {"type": "text", "text": text}]

    def _ask(self, request: str, event: Event) -> None:
        self.requests[request] = event
        self._emit(event)

    def _over(self, event: Event) -> None:
        self._end = event
        self._emit(event)


def end_event(live: Answer, end: TurnEnd) -> Event:
    """A ``turn_end`` event."""
    error = end.for_operators or (_INTERRUPTED if end.interrupted else None)
    return {"type": "turn_end", "stop_reason": end.stop_reason, "text": live.text, "error": error}


def asked_event(ask: PermissionRequest) -> Event:
    """A ``permission`` event."""
    return {
        "type": "permission",
        "request": ask.request,
        "title": ask.title,
        "tool_call_id": ask.tool_call_id,
        "question": ask.action.question,
        "action": ask.action.text(),
        "withheld": ask.withheld,
        "options": msgspec.to_builtins(option_rows(ask)),
        "timeout_seconds": ask.timeout_seconds,
    }


def question_event(question: Question) -> Event:
    """A ``question`` event."""
    row = msgspec.to_builtins(question_row(question))
    del row["expires_at"]
    return {"type": "question", **row, "timeout_seconds": question.timeout_seconds}


def update_event(update: Update) -> Event | None:
    """The event that shows an update; ``None`` for kinds that a terminal does not show."""
    body = update.body
    match update.kind:
        case "agent_message_chunk":
            return {"type": "text", "text": schema.chunk_text(body)}
        case "agent_thought_chunk":
            return {"type": "thought", "text": schema.chunk_text(body)}
        case "tool_call" | "tool_call_update" if (call := schema.tool_call(body)) is not None:
            return {
                "type": "tool",
                "tool_call_id": call.tool_call_id,
                "title": call.title,
                "kind": call.kind,
                "status": call.status,
            }
        case "plan":
            return {"type": "plan", "entries": body.get("entries", [])}
    return None
