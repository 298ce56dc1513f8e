"""What sessions report to the pool: it is stored and shown to those who follow, and what waits is carried on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acpbot.logs import get_logger
from acpbot.sessions.turn import finish_all, session_over
from acpbot.sessions.watcher import Watcher
from acpbot.storage.records import PlaceRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.config.in_force import SettingsInForce
    from acpbot.sessions.events import EventLog
    from acpbot.sessions.inbox import Inbox
    from acpbot.sessions.leftovers import Leftovers
    from acpbot.sessions.session import Session
    from acpbot.sessions.session_table import SessionTable
    from acpbot.sessions.subscribers import Subscribers
    from acpbot.sessions.thread import ThreadRegistry
    from acpbot.sessions.turn import PermissionNote, Turn
    from acpbot.sessions.views import Reason
    from acpbot.sessions.waiting_line import WaitingLine
    from acpbot.sessions.watchdog import Watchdog
    from acpbot.storage.store import Store

log = get_logger(__name__)


class SessionReports:
    """The :class:`~acpbot.sessions.session.SessionObserver` of all sessions of a pool. ``watcher`` counts them.

    ``on_change``: anything has changed. ``on_warm_ended``: the session of a process that waited for a thread has ended.
    """

    def __init__(
        self,
        *,
        store: Store,
        settings: SettingsInForce,
        threads: ThreadRegistry,
        table: SessionTable,
        leftovers: Leftovers,
        line: WaitingLine,
        inbox: Inbox,
        subscribers: Subscribers,
        events: EventLog,
        watchdog: Watchdog,
        clock: Callable[[], float],
        wall: Callable[[], float],
        is_stopping: Callable[[], bool],
        on_change: Callable[[], None],
        on_warm_ended: Callable[[Session, Reason, str | None], None],
    ) -> None:
        self.watcher = Watcher()
        self._store = store
        self._settings = settings
        self._threads = threads
        self._table = table
        self._leftovers = leftovers
        self._line = line
        self._inbox = inbox
        self._subscribers = subscribers
        self.events = events
        self._watchdog = watchdog
        self._clock = clock
        self._wall = wall
        self._is_stopping = is_stopping
        self._on_change = on_change
        self._on_warm_ended = on_warm_ended

    def session_changed(self, session: Session) -> None:
        """Store the session's thread where it has changed, and report its row."""
        thread = session.thread
        self._on_change()
        if self._line and (session.evictable or session not in self._table.current.values()):
            asyncio.get_running_loop().call_soon(self._line.advance)
        session.turns.report_places(session.progress)
        if self._threads.by_id.get(thread.thread_id) is thread:
            self._threads.save(thread)
        try:
            if session.listener is not None:
                session.listener.session_changed(thread.thread_id)
        except Exception:
            # Every step of a session comes through here: a listener's defect must not stop it.
            log.exception("session_listener_failed", thread=thread.thread_id)
        if self._subscribers and (live := self._table.of_thread(thread.thread_id)) is not None:
            self._subscribers.publish("changed", live.row())

    def session_launched(self, session: Session) -> None:
        """Store how a later daemon finds what runs."""
        ref = None if session.process is None else session.process.place_ref
        if ref is not None:
            kind = session.agent_settings.runtime
            self._store.process_started(PlaceRecord(session.session_id, kind, ref, session.thread.thread_id))
        self.session_changed(session)

    async def turn_starting(self, turn: Turn) -> None:
        """Have it on disk that the prompt may have been sent, before it is: no later daemon may send it again."""
        turn.counted = self.watcher.turn_ended
        if turn.message is not None:
            self._store.turn_started(turn.turn_id)
            await self._store.durable()

    def permission_answered(self, session: Session, note: PermissionNote) -> None:
        """Log and audit what was answered without a person."""
        thread_id = session.thread.thread_id
        outcome = f"{note.line[:1].lower()}{note.line[1:]}"
        log.info("permission_answered", thread=thread_id, session=session.session_id, outcome=outcome)
        self._store.audited(None, None, "permission", thread_id, outcome)

    def session_ending(self, session: Session) -> None:
        """Let the thread's next message start another session."""
        if self._table.current.get(session.thread.thread_id) is session:
            del self._table.current[session.thread.thread_id]
        self._table.closing[session] = None

    def session_ended(self, session: Session, reason: Reason, detail: str | None, queued: list[Turn]) -> None:
        """Free the session's place, suspend its thread, carry its waiting turns over or end them."""
        thread = session.thread
        if self._leftovers.session_ended(session, self._clock()):
            return
        self._table.closing.pop(session, None)
        if session.is_warm:
            self._on_warm_ended(session, reason, detail)
            self._subscribers.publish("gone", session.row())
            self.session_changed(session)
            return
        self._watchdog.reported.discard(session.session_id)
        thread.used_at = self._wall()
        session.options.usage.settle()
        self._subscribers.publish("gone", session.row())
        self.watcher.session_ended(thread.agent, reason)
        self.events.session_ended(session, reason, detail)
        end = session_over(reason, detail, session.detail_for_people)
        if thread.platform not in self._threads.unlimited:
            detail = end.error
        if reason == "start_failed":
            finish_all(queued, end)  # before the notice, which then is the only one
        try:
            if session.listener is not None and reason != "replaced":  # then the turn goes on in another session
                session.listener.session_ended(thread.thread_id, reason, detail, resumable=thread.resumable)
            if reason not in {"replaced", "stopped"} and thread.acp_session_id is not None:  # not where it is forgotten
                self._threads.announce_removal(thread, self._settings.now, self._settings.now.keep_seconds)
        except Exception:
            # The turns that wait must end all the same.
            log.exception("session_listener_failed", thread=thread.thread_id)
        self.session_changed(session)
        self._inbox.session_ended(session, queued, reason, end, stopping=self._is_stopping())
