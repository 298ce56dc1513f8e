"""Sessions that are idle too long, and turns that are silent or go on too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.logs import get_logger
from acpbot.times import long_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from acpbot.config.settings import PoolSettings
    from acpbot.sessions.events import EventLog
    from acpbot.sessions.session import Session

log = get_logger(__name__)

CANCEL_PATIENCE_SECONDS: Final = 30.0
"""How long after a cancel an agent may take to end its turn; the slowest that obeys was measured at 6 s."""

_NOT_STOPPED: Final = "The agent didn't stop when asked, so I ended its session."


class Watchdog:
    """Looks at sessions and acts on them. ``reported``: the ids of those whose silent turn was reported."""

    def __init__(self, clock: Callable[[], float], events: EventLog) -> None:
        self.reported: set[str] = set()
        self._events = events
        self._clock = clock

    def check(self, sessions: Iterable[Session], settings: PoolSettings) -> None:
        """End the sessions that are idle too long, and review the turns that run."""
        now = self._clock()
        for session in sessions:
            if session.turns.turn is not None:
                self._review(session, settings)
            elif session.is_warm or not session.evictable:
                continue
            elif now - session.turns.idle_since >= settings.idle_timeout_seconds:
                session.end("expired")

    def _review(self, session: Session, settings: PoolSettings) -> None:
        """Judge the running turn: first its limit, then silence; a turn that waits for a person is fine.

        A cancelled turn that does not end is ended with its session, so that the thread can go on.
        """
        turns = session.turns
        turn = turns.turn
        if turn is None:
            return
        fields = {"thread": session.thread.thread_id, "session": session.session_id}
        if turn.cancelled_at is not None:
            if self._clock() - turn.cancelled_at >= CANCEL_PATIENCE_SECONDS:
                log.warning("cancel_ignored", **fields, seconds=round(self._clock() - turn.cancelled_at, 1))
                reason = f"{turn.cancel_reason} " if turn.cancel_reason else ""
                session.end("stuck", detail=f"{reason}{_NOT_STOPPED}")
        elif turns.turn_seconds >= settings.turn_timeout_seconds:
            log.warning("turn_timed_out", **fields, turn_seconds=round(turns.turn_seconds, 1))
            limit = long_duration(settings.turn_timeout_seconds)
            turn.at_limit = True
            turns.cancel(f"Stopped after {limit}, the limit for one turn.")
        elif session.state == "stuck":
            self._on_silence(session, settings, fields)
        else:
            self.reported.discard(session.session_id)

    def _on_silence(self, session: Session, settings: PoolSettings, fields: dict[str, str]) -> None:
        turns, verdict = session.turns, settings.on_stuck
        seconds = round(turns.silent_seconds, 1)
        reason = f"The agent was silent for {long_duration(seconds)}"
        if session.session_id not in self.reported:
            self.reported.add(session.session_id)
            self._events.session_stuck(session, seconds, turns.calls.activity)
            log.warning("turn_stuck", **fields, verdict=verdict, silent_seconds=seconds, activity=turns.calls.activity)
            if verdict == "notify":
                session.report_stuck()
        if verdict == "cancel":
            turns.cancel(f"{reason}, so I stopped it.")
        elif verdict == "kill":
            session.end("stuck", detail=f"{reason}, so I ended its session.")
