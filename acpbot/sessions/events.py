"""What mattered lately: how sessions began and ended, and why; drains, reloads. It is kept over restarts."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from acpbot.logs import get_logger
from acpbot.sessions.stderr_cause import find_cause
from acpbot.storage.records import EventRecord
from acpbot.storage.store import EVENTS_MOST
from acpbot.text import one_line
from acpbot.times import long_duration, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.sessions.session import Session
    from acpbot.sessions.views import Reason
    from acpbot.storage.store import Store

log = get_logger(__name__)

_DETAIL_LENGTH: Final = 500
_TROUBLE: Final = frozenset({"crashed", "start_failed", "stuck"})

Kind = Literal[
    "daemon_started",
    "daemon_stopping",
    "session_started",
    "session_ended",
    "session_stuck",
    "drain_started",
    "drain_ended",
    "config_reloaded",
    "config_refused",
    "schedule_started",
    "schedule_skipped",
    "schedule_missed",
    "schedule_failed",
]


class EventLog:
    """The last :data:`EVENTS_MOST` events. All methods belong to the event loop's thread. ``wall``: Unix time."""

    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._events = deque(store.restored.events, maxlen=EVENTS_MOST)
        self._last_id = self._events[-1].id if self._events else 0
        self._followers: list[Callable[[EventRecord], None]] = []

    def record(
        self,
        kind: Kind,
        session: Session | None = None,
        *,
        reason: str | None = None,
        exit_code: int | None = None,
        detail: str | None = None,
    ) -> None:
        """Note that something has happened, to ``session`` or to the daemon."""
        self._last_id += 1
        event = EventRecord(
            id=self._last_id,
            at=rfc3339(self._wall()),
            kind=kind,
            thread_id=None if session is None else session.thread.thread_id,
            session_id=None if session is None else session.session_id,
            agent=None if session is None else session.thread.agent,
            reason=reason,
            exit_code=exit_code,
            detail=one_line(detail or "", _DETAIL_LENGTH) or None,
        )
        self._events.append(event)
        self._store.save_event(event)
        for follower in tuple(self._followers):
            try:
                follower(event)
            except Exception:
                # Broad: a defect of one follower must not stop a session, nor keep the event from the others.
                log.exception("event_follower_failed", kind=kind)

    def session_started(self, session: Session) -> None:
        """A session begins: to go on with a conversation (``resumed``), or with a new one."""
        self.record("session_started", session, reason="new" if session.thread.acp_session_id is None else "resumed")

    def session_ended(self, session: Session, reason: Reason, detail: str | None) -> None:
        """Nothing is left of a session, as far as is known. ``detail`` as its thread reads it.

        Of a crash it is what the agent's stderr says, where that says anything; of ends that somebody wanted the reason
        says all.
        """
        process = session.process
        code = None if process is None else process.returncode
        if reason not in _TROUBLE:
            detail = None
        elif reason == "crashed" and process is not None and code is not None:
            program = session.agent_settings.command.rpartition("/")[2]
            detail = find_cause(process.stderr.lines(), program).text.removeprefix("it wrote: ")
        detail = None if detail is None else detail.removeprefix("cannot go on: ")
        self.record("session_ended", session, reason=reason, exit_code=code, detail=detail)

    def session_stuck(self, session: Session, seconds: float, activity: str | None) -> None:
        """A turn is silent for so long that it counts as stuck."""
        running = f"; still running {activity}" if activity else ""
        self.record("session_stuck", session, detail=f"no output for {long_duration(seconds)}{running}")

    def latest(self, limit: int, since: str = "") -> list[EventRecord]:
        """The last ``limit`` events that are not older than ``since`` (as :func:`rfc3339` writes it), oldest first."""
        found = [event for event in self._events if event.at >= since]
        return found[-limit:]

    def follow(self, follower: Callable[[EventRecord], None]) -> Callable[[], None]:
        """Call ``follower`` with each event from now on; it may not block. Returns the function that ends this."""
        self._followers.append(follower)

        def leave() -> None:
            if follower in self._followers:
                self._followers.remove(follower)

        return leave
