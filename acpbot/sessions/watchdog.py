"""Sessions that are idle too long, and turns that are silent or go on too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from acpbot.config.settings import PoolSettings
    from acpbot.sessions.session import Session

log = get_logger(__name__)

CANCEL_PATIENCE_SECONDS: Final = 30.0
"""How long after a cancel an agent may take to end its turn; the slowest that obeys was measured at 6 s."""

Verdict = Literal["notify", "cancel", "kill"]


class Watchdog:
    """Looks at sessions and acts on them. ``reported``: the ids of those whose stuck turn was reported."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.reported: set[str] = set()
        self._clock = clock

    def check(self, sessions: Iterable[Session], settings: PoolSettings) -> None:
        """End the sessions that are idle too long, and review the turns that run."""
        now = self._clock()
        for session in sessions:
            if session.turns.turn is not None:
                self._review(session, settings)
            elif session.evictable and now - session.turns.idle_since >= settings.idle_timeout_seconds:
                session.end("expired")

    def _review(self, session: Session, settings: PoolSettings) -> None:
        """Judge the running turn: first its limit, then silence; a turn that waits for a person is fine.

        A cancelled turn that does not end is ended with its session, so that the thread can go on.
        """
        turns = session.turns
        cancelled_at = None if turns.turn is None else turns.turn.cancelled_at
        verdict: Verdict
        if cancelled_at is not None and self._clock() - cancelled_at >= CANCEL_PATIENCE_SECONDS:
            verdict = "kill"
        elif cancelled_at is None and turns.turn_seconds >= settings.turn_timeout_seconds:
            verdict = "cancel"
        elif cancelled_at is None and session.state == "stuck":
            verdict = settings.on_stuck
        else:
            self.reported.discard(session.session_id)
            return
        if session.session_id not in self.reported:
            self.reported.add(session.session_id)
            seconds, activity = round(turns.silent_seconds, 1), turns.calls.activity
            fields = {"thread": session.thread.thread_id, "session": session.session_id, "verdict": verdict}
            log.warning("turn_stuck", **fields, silent_seconds=seconds, activity=activity)
            if verdict != "kill":
                session.report_stuck()
        if verdict == "cancel":
            turns.cancel()
        elif verdict == "kill":
            session.end("stuck", detail="The agent did not finish in time and was ended.")
