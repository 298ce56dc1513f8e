"""How many sessions may run and how many turns may wait, of all people and of one; which idle session makes room.

A person is a platform's user who owns a thread or asked for a turn. Operators are not limited: a thread without an
owner, a turn without an asker, and a platform that says so (the terminal's chat) count for nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acpbot.errors import TooMany

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from acpbot.config.in_force import SettingsInForce
    from acpbot.sessions.session import Session
    from acpbot.sessions.session_table import SessionTable
    from acpbot.sessions.thread import ThreadRegistry
    from acpbot.sessions.turn import Turn
    from acpbot.sessions.waiting_line import WaitingLine

    Person = tuple[str, str]
    """A platform, and the id of a user there."""


class Capacity:
    """Finds a place for each new session. An idle session is suspended to make room; its next message resumes it."""

    def __init__(
        self, table: SessionTable, threads: ThreadRegistry, settings: SettingsInForce, line: WaitingLine
    ) -> None:
        self._table = table
        self._threads = threads
        self._settings = settings
        self._line = line

    def free_place(self, thread_id: str, platform: str, owner: str | None) -> list[asyncio.Task[Any]]:
        """What a new session must wait for: the end of its thread's last ones, and of others where all are too many.

        ``owner`` owns the thread. A person at their limit gives up an idle session of their own. Raises TooMany; then
        nothing was suspended.
        """
        table, pool = self._table, self._settings.now.pool
        person, own_most = self._person(platform, owner), pool.max_sessions_per_user
        evicted: list[Session] = []
        own = self._sessions_of(person) if own_most else []
        if person is not None and own_most and len(own) >= own_most:
            evicted = _idle_longest(own)[: len(own) - own_most + 1]
            if len(own) - len(evicted) >= own_most:
                busy = f"{len(own)} busy session{'s' * (len(own) != 1)}"
                limit = f"[pool] max_sessions_per_user is {own_most}"
                raise TooMany(
                    f"cannot start: user {person[1]} has {busy}, and {limit}; wait for one to finish, or end one",
                    limit="sessions_of_person",
                    count=len(own),
                    person=person[1],
                )
        excess = len(table.current) - len(evicted) - pool.max_sessions + 1
        if excess > 0:
            others = [session for session in table.current.values() if session not in evicted]
            evicted += _idle_longest(others)[:excess]
            if len(table.current) - len(evicted) >= pool.max_sessions:
                way_out = "wait for one to finish, or raise [pool] max_sessions"
                raise TooMany(
                    f"cannot start: pool exhausted, all {len(table.current)} sessions are busy; {way_out}",
                    limit="sessions",
                    count=len(table.current),
                )
        for session in evicted:
            session.end("evicted")
        full = len(table.current) + len(table.closing) >= pool.max_sessions
        own_closing = [
            session for session in table.closing if person is not None and self._person_of(session) == person
        ]
        own_full = bool(own_most) and len(self._sessions_of(person)) + len(own_closing) >= own_most
        return [
            session.end("evicted")
            for session in (*table.closing, *table.unverified)
            if session.thread.thread_id == thread_id
            or (full and session in table.closing)
            or (own_full and session in own_closing)
        ]

    def check_queue(self, turn: Turn, platform: str) -> None:
        """Raise TooMany where the person who asks for ``turn`` has too many turns that wait, in all threads together.

        ``turn`` is about to wait; one that an earlier run of the daemon accepted is never refused.
        """
        most, person = self._settings.now.pool.max_queued_per_user, self._person(platform, turn.asker)
        if not most or person is None or turn.recovered:
            return
        waiting = sum(
            queued.asker == turn.asker
            for session in self._table.with_turns()
            if session.thread.platform == platform
            for queued in session.turns.queue
        )
        waiting += sum(thread.platform == platform and one.asker == turn.asker for thread, one in self._line.turns())
        if waiting >= most:
            queued = f"{waiting} message{'s' * (waiting != 1)}"
            raise TooMany(
                f"cannot queue: user {person[1]} has {queued} waiting, and [pool] max_queued_per_user is {most}; "
                "wait for answers",
                limit="queue_of_person",
                count=waiting,
                person=person[1],
            )

    def converge(self) -> None:
        """Suspend idle sessions, those that are idle longest first, while there are more than the limits allow."""
        pool = self._settings.now.pool
        if pool.max_sessions_per_user:
            by_person: dict[Person, list[Session]] = {}
            for session in self._table.current.values():
                if (person := self._person_of(session)) is not None:
                    by_person.setdefault(person, []).append(session)
            for own in by_person.values():
                _suspend_excess(own, pool.max_sessions_per_user)
        _suspend_excess(self._table.current.values(), pool.max_sessions)

    def _person(self, platform: str, user: str | None) -> Person | None:
        return None if user is None or platform in self._threads.unlimited else (platform, user)

    def _person_of(self, session: Session) -> Person | None:
        return self._person(session.thread.platform, session.thread.owner)

    def _sessions_of(self, person: Person | None) -> list[Session]:
        return [session for session in self._table.current.values() if self._person_of(session) == person]


def _idle_longest(sessions: Iterable[Session]) -> list[Session]:
    """Those whose end would interrupt nothing: first those that have no thread, then the one that is idle longest."""
    evictable = (session for session in sessions if session.evictable)
    return sorted(evictable, key=lambda session: (not session.is_warm, session.turns.idle_since))


def _suspend_excess(sessions: Iterable[Session], most: int) -> None:
    every = list(sessions)
    for session in _idle_longest(every)[: max(0, len(every) - most)]:
        session.end("evicted")
