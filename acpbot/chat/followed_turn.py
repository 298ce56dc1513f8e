"""A turn that somebody follows who has no thread open: its platform shows it as usual, and its events go there too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.chat.turn_events import TurnEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.schema import Update
    from acpbot.chat.platform import TurnView
    from acpbot.chat.rendering.answer import Answer
    from acpbot.chat.turn_events import Event
    from acpbot.sessions.questions import Question
    from acpbot.sessions.turn import PermissionNote, PermissionRequest, Place, TurnEnd


class TurnFollower:
    """Follows one turn in any thread. ``emit`` takes each event and may not block; ``thread_id`` is in each of them.

    A turn that waits has no snapshot.
    """

    def __init__(self, emit: Callable[[Event], None], prompt: str) -> None:
        self.thread_id = ""
        self.events = TurnEvents(lambda event: emit({"thread": self.thread_id, **event}), prompt)
        self._started = False

    def on_started(self) -> None:
        """The turn runs."""
        self._started = True

    def snapshot(self) -> list[Event]:
        """Events in place of those that a reader missed: the turn so far and what it waits for, or its end."""
        if not (self._started or self.events.is_over):
            return []
        now = self.events.snapshot()
        asked = [] if self.events.is_over else list(self.events.requests.values())
        return [{"thread": self.thread_id, **event} for event in [*now, *asked]]


class FollowedTurn:
    """Two views of one turn: ``shown`` is the platform's, and decides when the turn is stored as delivered."""

    def __init__(self, shown: TurnView, follower: TurnFollower) -> None:
        self._shown = shown
        self._follower = follower
        self._events = follower.events

    def on_queued(self, place: Place) -> None:
        """The turn waits."""
        self._shown.on_queued(place)
        self._events.on_queued(place)

    def on_started(self) -> None:
        """The turn runs."""
        self._shown.on_started()
        self._follower.on_started()
        self._events.on_started()

    def on_update(self, live: Answer, update: Update) -> None:
        """The answer has changed."""
        self._shown.on_update(live, update)
        self._events.on_update(live, update)

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """A permission is wanted."""
        self._shown.on_permission_request(ask)
        self._events.on_permission_request(ask)

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """It needs no answer any more."""
        self._shown.on_permission_resolved(ask)
        self._events.on_permission_resolved(ask)

    def on_question(self, question: Question) -> None:
        """The agent asks something."""
        self._shown.on_question(question)
        self._events.on_question(question)

    def on_question_closed(self, question: Question) -> None:
        """It needs no answer any more."""
        self._shown.on_question_closed(question)
        self._events.on_question_closed(question)

    def on_permission_note(self, live: Answer, note: PermissionNote) -> None:
        """A permission request was answered, and no person did it."""
        self._shown.on_permission_note(live, note)
        self._events.on_permission_note(live, note)

    def on_ended(self, live: Answer, end: TurnEnd, on_persisted: Callable[[], None]) -> None:
        """The turn is over."""
        self._shown.on_ended(live, end, on_persisted)
        self._events.on_ended(live, end, lambda: None)

    def on_deferred(self) -> None:
        """The next run of the daemon makes the turn again."""
        self._shown.on_deferred()
        self._events.on_deferred()

    def on_refused(self) -> None:
        """The pool has not taken the turn."""
        self._shown.on_refused()
