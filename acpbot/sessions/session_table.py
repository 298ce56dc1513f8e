"""Which sessions there are: those that run, those that end, and those that have ended and may have left processes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from acpbot.sessions.views import PoolCounts

if TYPE_CHECKING:
    from collections.abc import Collection

    from acpbot.sessions.session import Session
    from acpbot.sessions.views import Target


class SessionTable:
    """Several sessions of one thread may be ending at once; the oldest alone has begun to, and the others wait for it.

    ``current``: by thread id, those that are not ending. ``closing``: those that end, oldest first. ``unverified``:
    those that have ended and may have left processes, and when (monotonic seconds) to try again.
    """

    def __init__(self) -> None:
        self.current: dict[str, Session] = {}
        self.closing: dict[Session, None] = {}
        self.unverified: dict[Session, float] = {}

    def of_threads(self) -> list[Session]:
        """The session of each thread that has one, be it closing."""
        sessions: dict[str, Session] = {}
        for session in (*reversed(self.closing), *self.current.values()):
            sessions[session.thread.thread_id] = session
        return list(sessions.values())

    def of_thread(self, thread_id: str) -> Session | None:
        """The thread's session, be it closing."""
        if thread_id in self.current:
            return self.current[thread_id]
        return next((session for session in self.closing if session.thread.thread_id == thread_id), None)

    def without_session(self, threads: Collection[str]) -> int:
        """How many of these threads have no session."""
        return len(threads) - sum(session.thread.thread_id in threads for session in self.of_threads())

    def counts(self, threads: Collection[str], most: int, in_line: int) -> PoolCounts:
        """How many sessions are in which state.

        ``threads``: ids of all that are known; ``most``: how many may run; ``in_line``: threads that wait for an agent.
        """
        every = self.of_threads()
        sessions = [session for session in every if not session.is_warm]
        states: Counter[str] = Counter()
        queued = with_session = 0
        for session in sessions:
            states[session.state] += 1
            queued += len(session.turns.queue)
            with_session += session.thread.thread_id in threads
        return PoolCounts(
            sessions=len(sessions),
            max=most,
            starting=states["starting"],
            idle=states["idle"],
            busy=states["busy"],
            waiting=states["waiting"],
            stuck=states["stuck"],
            suspended=len(threads) - with_session,
            queued=queued,
            in_line=in_line,
            warm=len(every) - len(sessions),
        )

    def with_turns(self) -> tuple[Session, ...]:
        """All sessions that may have turns: those that run and those that end."""
        return (*self.current.values(), *self.closing)

    def find(self, target: Target) -> Session | None:
        """Exactly this session, also one that ends or that has ended and may have left processes."""
        for session in (*self.current.values(), *self.closing, *self.unverified):
            if session.session_id == target.session_id and session.thread.thread_id == target.thread_id:
                return session
        return None
