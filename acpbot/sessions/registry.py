"""Who is there: threads, and the sessions that run in them. Looks only; what changes anything is the pool's."""

from __future__ import annotations

import collections
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.errors import Ambiguous, NotFound
from acpbot.sessions.views import Detail, PoolCounts, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.sessions.session import Session
    from acpbot.sessions.thread import Thread

SUFFIX_LENGTH: Final = 4


class SessionRegistry(ABC):
    """The threads by id, the session of each that has one, and those that are ending, whose thread may have another.

    Several of one thread may be ending at once, of which the oldest alone has begun: the others wait for it.
    """

    def __init__(self, threads: dict[str, Thread]) -> None:
        self._threads = threads
        self._current: dict[str, Session] = {}
        self._closing: dict[Session, None] = {}  # oldest first

    @property
    @abstractmethod
    def max_sessions(self) -> int:
        """How many sessions may have a process at once."""

    def sessions(self) -> list[Session]:
        """The session of each thread that has one, be it closing."""
        both = (*reversed(self._closing), *self._current.values())
        return list({session.thread.thread_id: session for session in both}.values())

    def rows(self, *, suspended: bool = False) -> list[Row]:
        """A row a session, oldest thread first; with ``suspended`` the threads without a process too."""
        rows = [session.row() for session in self.sessions()]
        if suspended:
            running = {row.thread_id for row in rows}
            rows += [thread.suspended_row() for key, thread in self._threads.items() if key not in running]
        return sorted(rows, key=lambda row: (row.created_at, row.thread_id))

    def counts(self) -> PoolCounts:
        """How many sessions are in which state."""
        sessions = self.sessions()
        states = collections.Counter(session.state for session in sessions)
        running = {session.thread.thread_id for session in sessions}
        return PoolCounts(
            sessions=len(sessions),
            max=self.max_sessions,
            starting=states["starting"],
            idle=states["idle"],
            busy=states["busy"],
            waiting=states["waiting"],
            stuck=states["stuck"],
            suspended=len(self._threads) - len(running & self._threads.keys()),
            queued=sum(session.queued for session in sessions),
        )

    def resolve(self, thread: str) -> str:
        """The thread id that ``thread`` names: itself, or the one that ends in it (4 characters at least).

        Raises NotFound, Ambiguous.
        """
        if thread in self._threads:
            return thread
        fits = [key for key in self._threads if key.endswith(thread)] if len(thread) >= SUFFIX_LENGTH else []
        if not fits:
            hint = "" if len(thread) >= SUFFIX_LENGTH else f"; a suffix needs {SUFFIX_LENGTH} characters or more"
            raise NotFound(f"cannot find a session for thread {thread[:80]!r}{hint}; see `acpctl sessions --all`")
        if len(fits) > 1:
            named = ", ".join(sorted(fits)[:5])
            raise Ambiguous(
                f"cannot tell which thread {thread[:80]!r} is: {len(fits)} end so ({named}); give more of it"
            )
        return fits[0]

    def get(self, thread_id: str) -> Session | None:
        """The thread's session, where it has one that is not ending."""
        return self._current.get(thread_id)

    def thread(self, thread_id: str) -> Thread | None:
        """What is known of a thread."""
        return self._threads.get(thread_id)

    def of_platform(self, platform: str) -> list[Thread]:
        """All threads of a platform, with a session or without."""
        return [thread for thread in self._threads.values() if thread.platform == platform]

    def row(self, thread_id: str) -> Row:
        """The thread's row. Raises NotFound."""
        session = self._live(thread_id)
        if session is not None:
            return session.row()
        if thread_id not in self._threads:
            raise NotFound(f"cannot find thread {thread_id[:80]!r}")
        return self._threads[thread_id].suspended_row()

    async def detail(self, thread_id: str) -> Detail:
        """The thread's row and what only a look at the system tells. Raises NotFound."""
        session = self._live(thread_id)
        if session is not None:
            return await session.detail()
        row = self.row(thread_id)
        return Detail(**msgspec.structs.asdict(row), stderr=[], tool_calls=[], process_tree=[])

    def _live(self, thread_id: str) -> Session | None:
        current = self._current.get(thread_id)
        if current is not None:
            return current
        return next((session for session in self._closing if session.thread.thread_id == thread_id), None)

    def tail(
        self, thread_id: str, callback: Callable[[dict[str, Any]], None]
    ) -> tuple[list[dict[str, Any]], Callable[[], None]]:
        """Recent output of the thread's session, then each new piece to ``callback``. Raises NotFound."""
        session = self._live(thread_id)
        if session is None:
            raise NotFound(f"cannot tail {thread_id}: no agent runs for it now")
        return session.output.follow(callback)
