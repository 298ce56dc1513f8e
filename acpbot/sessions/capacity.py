"""How many sessions may run at once, and which idle one makes room for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acpbot.errors import TooMany

if TYPE_CHECKING:
    import asyncio

    from acpbot.config.settings import PoolSettings
    from acpbot.sessions.session_table import SessionTable


class Capacity:
    """Finds a place for each new session. An idle session is suspended to make room; its next message resumes it."""

    def __init__(self, table: SessionTable) -> None:
        self._table = table

    def free_place(self, thread_id: str, pool: PoolSettings) -> list[asyncio.Task[Any]]:
        """What a new session must wait for: the end of its thread's last ones, and of others where all are too many.

        Raises TooMany.
        """
        table, most = self._table, pool.max_sessions
        if len(table.current) >= most:
            idle = [session for session in table.current.values() if session.evictable]
            if not idle:
                way_out = "wait for one to finish, or raise [pool] max_sessions"
                raise TooMany(f"cannot start: pool exhausted, all {most} sessions are busy; {way_out}")
            min(idle, key=lambda session: session.turns.idle_since).end("evicted")
        full = len(table.current) + len(table.closing) >= most
        return [
            session.end("evicted")
            for session in (*table.closing, *table.unverified)
            if session.thread.thread_id == thread_id or (full and session in table.closing)
        ]
