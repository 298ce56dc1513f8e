"""Ends sessions: one that an operator names, and all of them when the daemon stops."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from acpbot.errors import Conflict, NotFound
from acpbot.logs import get_logger
from acpbot.sessions.leftovers import kill_result
from acpbot.sessions.terminate import UNVERIFIED
from acpbot.sessions.views import Target
from acpbot.sessions.waiting_line import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.config.in_force import SettingsInForce
    from acpbot.sessions.leftovers import Leftovers
    from acpbot.sessions.session import Session
    from acpbot.sessions.session_table import SessionTable
    from acpbot.sessions.terminate import TerminationResult
    from acpbot.sessions.thread import ThreadRegistry
    from acpbot.sessions.views import KillResult, Reason
    from acpbot.sessions.waiting_line import WaitingLine

log = get_logger(__name__)

KILLED: Final = "An admin stopped this session."
SUSPENDED: Final = "An admin closed this session."
RESTARTED: Final = "This session was restarted."
STOPPED: Final = "I'm restarting."
CUT_OFF: Final = "I'm restarting, so this answer is incomplete."
_LATE_SECONDS: Final = 0.25


class SessionEnder:
    """Ends sessions of ``table``. ``on_change``: something that the session's row shows has changed."""

    def __init__(
        self,
        table: SessionTable,
        threads: ThreadRegistry,
        leftovers: Leftovers,
        line: WaitingLine,
        settings: SettingsInForce,
        *,
        on_change: Callable[[Session], None],
    ) -> None:
        self._table = table
        self._settings = settings
        self._leftovers = leftovers
        self._threads = threads
        self._line = line
        self._on_change = on_change

    async def end(
        self,
        target: Target,
        reason: Reason,
        detail: str,
        *,
        grace: float | None = None,
        forget: bool = False,
        delete: bool = True,
        keep_folder: bool = False,
    ) -> KillResult:
        """End exactly this session; the answer follows once its end is verified. Parameters as :meth:`Pool.kill`'s.

        ``delete``: have the agent delete a conversation that is forgotten. ``keep_folder``: whatever is configured.
        """
        thread_id = target.thread_id
        session = self._table.find(target)
        if session is None:
            running = thread_id in self._table.current
            return self._leftovers.untouched(target, "conflict" if running else "already_gone")
        thread = session.thread
        if forget:  # now: neither a message that comes meanwhile nor a restart may resume it
            thread.acp_session_id, thread.resumable = None, False
            self._on_change(session)
        # A conversation that was begun elsewhere is not ours to delete.
        delete = delete and forget and not thread.adopted
        await asyncio.wait([session.end(reason, grace=grace, detail=detail, delete=delete)])
        ending = session.ending or UNVERIFIED
        if forget and self._threads.by_id.get(thread_id) is thread and thread_id not in self._table.current:
            self.forget(thread_id)
            if not keep_folder and ending.ended:
                self._threads.remove_folder(thread, self._settings.now)
        return kill_result(target, ending, resumable=thread.resumable and not forget)

    def forget(self, thread_id: str) -> bool:
        """As :meth:`Pool.forget`; a thread in the line keeps its place, its agent and its owner."""
        thread = self._threads.by_id.get(thread_id)
        if thread is None or thread_id in self._table.current:
            return False
        thread.acp_session_id, thread.resumable = None, False
        if (closing := self._table.of_thread(thread_id)) is not None:
            self._on_change(closing)
        self._threads.forget(thread)
        self._threads.known.begin_anew(thread_id)
        if self._line.get(thread_id) is not None:
            self._threads.begin(thread_id, thread.platform, thread.agent, thread.owner, thread.channel)
        return True

    def forget_suspended(self, thread_id: str) -> None:
        """Forget a thread's conversation, as expiry does. Raises NotFound, Conflict (it has a session, or waits)."""
        thread = self._threads.by_id.get(thread_id)
        if thread is None:
            raise NotFound(f"cannot find thread {thread_id[:80]!r}")
        if self._table.of_thread(thread_id) is not None or self._line.get(thread_id) is not None:
            way_out = f"end it and forget the conversation with `acpctl kill --forget {thread_id}`"
            raise Conflict(f"cannot forget {thread_id}: it has a session, or waits for one; {way_out}")
        self.forget(thread_id)
        self._threads.remove_folder(thread, self._settings.now)

    async def restart(self, target: Target) -> KillResult:
        """As :meth:`Pool.suspend`, but what waits is kept for the session that :meth:`Pool.ensure` starts next.

        The thread has the first place in the line until its session has ended.
        """
        thread_id, session = target.thread_id, self._table.current.get(target.thread_id)
        if session is None or session.session_id != target.session_id:
            return self._leftovers.untouched(target, "already_gone" if session is None else "conflict")
        thread = session.thread
        waiting = self._line.get(thread_id) or Waiting(
            thread_id,
            thread.platform,
            thread.owner,
            channel=thread.channel,
            turns=session.turns.take_queued(),
            held=True,
        )
        self._line.join(waiting, first=True)
        try:
            return await self.end(target, "suspended", RESTARTED)
        finally:
            self._line.release(waiting)

    async def start_over(self, thread_id: str, agent: str | None) -> bool:
        """As :meth:`Pool.start_over`. The thread has the first place in the line until its session has ended."""
        thread, session = self._threads.by_id.get(thread_id), self._table.current.get(thread_id)
        if thread is None:
            raise NotFound(f"cannot find thread {thread_id[:80]!r}")
        waiting = self._line.get(thread_id)
        if session is not None and waiting is None and (agent is not None or session.turns.queue):
            waiting = Waiting(
                thread_id,
                thread.platform,
                thread.owner,
                channel=thread.channel,
                turns=session.turns.take_queued(),
                held=True,
            )
            self._line.join(waiting, first=True)
        try:
            if session is not None:
                target = Target(thread_id=thread_id, session_id=session.session_id)
                await self.end(target, "killed", KILLED, forget=True, delete=agent is None, keep_folder=True)
            else:
                self.forget(thread_id)
        finally:
            if agent is not None:
                self._threads.begin(thread_id, thread.platform, agent, thread.owner, thread.channel)
            if waiting is not None:
                waiting.agent = agent
                self._line.release(waiting)
        return session is not None

    def end_turns(self, reason: str, cut_off: str | None) -> None:
        """As :meth:`Pool.end_turns`."""
        for session in self._table.with_turns():
            try:
                session.turns.refuse_queued(reason)
                session.turns.cancel(cut_off)
            except Exception:
                # Broad: a defect in one session must not keep the turns of the others going.
                log.exception("turns_not_ended", session=session.session_id)

    async def end_all(self, grace: float) -> None:
        """End every session, side by side; one that was ending already gets no more time than the others."""
        if ends := self._begin_all(grace):
            _, late = await asyncio.wait(ends, timeout=grace + _LATE_SECONDS)
            if late:
                self.force()
                await asyncio.wait(late)

    def force(self) -> None:
        """End every session, and kill the leaders of all agents now, so that no end needs any more grace."""
        self._begin_all(0.0)
        for session in self._table.closing:
            try:
                if session.process is not None:
                    session.process.kill()
            except Exception:
                # The others must be killed all the same; this one's end goes on by itself.
                log.exception("session_kill_failed", session=session.session_id)

    def _begin_all(self, grace: float) -> list[asyncio.Task[TerminationResult]]:
        table = self._table
        sessions = (*table.current.values(), *table.closing, *table.unverified)
        return [
            session.end("stopped", grace=grace, detail=STOPPED if session.turns.turn is None else CUT_OFF)
            for session in sessions
        ]
