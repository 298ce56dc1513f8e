"""Where a person's message goes: into the queue of its thread's session, or with its thread into the line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from acpbot.aio import TaskSet
from acpbot.errors import InvalidParams, TooMany
from acpbot.sessions.ending import STOPPED
from acpbot.sessions.thread import title_from
from acpbot.sessions.turn import DEFERRED, TurnEnd, failed, finish_all
from acpbot.sessions.turn_queue import find
from acpbot.sessions.waiting_line import Waiting
from acpbot.storage.records import TurnRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from acpbot.sessions.agent_choice import AgentChoice
    from acpbot.sessions.capacity import Capacity
    from acpbot.sessions.session import Session
    from acpbot.sessions.session_table import SessionTable
    from acpbot.sessions.thread import ThreadRegistry
    from acpbot.sessions.turn import Turn
    from acpbot.sessions.views import Reason
    from acpbot.sessions.waiting_line import WaitingLine
    from acpbot.storage.store import Store


SendNow = Literal["interrupted", "next", "gone"]
"""What came of :meth:`Inbox.send_now`: a turn was cancelled for it, there was none to cancel, or it does not wait."""


class Inbox:
    """The turns that wait, wherever they do. ``start`` makes the session of a thread of the line."""

    def __init__(
        self,
        *,
        table: SessionTable,
        threads: ThreadRegistry,
        line: WaitingLine,
        capacity: Capacity,
        agents: AgentChoice,
        store: Store,
        start: Callable[[Waiting], Session],
    ) -> None:
        self._table = table
        self._threads = threads
        self._line = line
        self._capacity = capacity
        self._agents = agents
        self._store = store
        self._start = start
        self._tasks = TaskSet("inbox")

    def submit(self, wanted: Waiting, turn: Turn) -> int:
        """As :meth:`Pool.submit`; ``wanted`` is the thread, which holds no turn yet."""
        thread_id = wanted.thread_id
        self._line.advance()
        current, waiting = self._table.current.get(thread_id), self._line.get(thread_id)
        if waiting is not None or (current is not None and (current.turns.turn is not None or current.turns.queue)):
            self._capacity.check_queue(turn, wanted.platform)
        if waiting is not None:
            before = self._line.add(waiting, turn)
        else:
            try:
                before = self._start(wanted).turns.submit(turn)
            except TooMany as full:
                if full.limit != "sessions" and not (turn.recovered and full.limit == "sessions_of_person"):
                    raise
                before = self._join(wanted, turn)
        thread = self._threads.by_id[thread_id]
        if thread.title is None:
            thread.title = title_from(turn.title or turn.text)
        if turn.message is not None:
            self._store.turn_queued(TurnRecord(turn.turn_id, thread_id, thread.platform, "queued", turn.message))
        if turn.now and (session := self._table.current.get(thread_id)) is not None:
            self._keep_order(session.turns.queue, turn)
        return before

    def _join(self, wanted: Waiting, turn: Turn) -> int:
        """Put the thread at the end of the line; its place. Raises TooMany, InvalidParams."""
        self._capacity.check_queue(turn, wanted.platform)
        self._line.check(wanted.platform, turn)
        self._know(wanted)
        wanted.turns.append(turn)
        return self._line.join(wanted)

    def _know(self, waiting: Waiting) -> None:
        """Make the thread of ``waiting`` known, where it is not: it has a row while it waits."""
        known = self._threads.in_channel(waiting.thread_id, waiting.channel)
        choice = self._agents.of(waiting.thread_id, known, waiting.agent, waiting.channel)
        thread = known or self._threads.begin(
            waiting.thread_id, waiting.platform, choice.name, waiting.owner, waiting.channel
        )
        self._threads.save(thread)

    def start_waiting(self, waiting: Waiting) -> None:
        """Start the session of a thread of the line, with its turns. Raises as :meth:`Pool.ensure`."""
        self._start(waiting).turns.take_over(waiting.turns, waiting.retried)

    def session_ended(
        self, session: Session, queued: Sequence[Turn], reason: Reason, end: TurnEnd, *, stopping: bool
    ) -> None:
        """Carry waiting turns over to the thread's next session, or to the next daemon, or end them by ``end``."""
        goes_on = reason in {"crashed", "stuck", "replaced"}
        if goes_on and not stopping:
            self._carry_over(session, queued)
            return
        for turn in queued:
            if goes_on or reason == "stopped":
                turn.finish(self.deferred(session.thread.thread_id, session.thread.platform, turn))
            else:
                turn.finish(end)

    def _carry_over(self, session: Session, queued: Sequence[Turn]) -> None:
        """Run the turns of a session that has ended in the thread's next one."""
        if not queued:
            return
        thread = session.thread
        waiting = self._line.get(thread.thread_id)
        if waiting is not None:  # a message came meanwhile
            waiting.turns[:0] = queued
            waiting.retried = session.turns.returned
            self._line.join(waiting, first=True)
            return
        waiting = Waiting(
            thread.thread_id,
            thread.platform,
            thread.owner,
            channel=thread.channel,
            turns=list(queued),
            retried=session.turns.returned,
        )
        try:
            self.start_waiting(waiting)
        except TooMany:
            self._know(waiting)
            self._line.join(waiting, first=True)
        except InvalidParams as error:
            finish_all(waiting.turns, failed(error))

    def stop(self) -> None:
        """The daemon stops: what is in the line runs after the next start."""
        self._tasks.cancel_soon()
        self._line.end_all(lambda waiting, turn: self.deferred(waiting.thread_id, waiting.platform, turn))

    def deferred(self, thread_id: str, platform: str, turn: Turn) -> TurnEnd:
        """How a turn ends that the next daemon runs; it is stored as one that has not begun."""
        if turn.message is None:
            return TurnEnd("error", STOPPED)
        self._store.turn_queued(TurnRecord(turn.turn_id, thread_id, platform, "queued", turn.message))
        return TurnEnd(DEFERRED)

    def recheck(self) -> None:
        """Other settings hold: end the turns, running or in line, of people who may not use the bot any more.

        What waits in a session's queue is checked before it runs.
        """
        for waiting, turn in list(self._line.turns()):
            self._recheck(turn, partial(self._line.refuse, waiting, turn))
        for session in self._table.with_turns():
            running = session.turns.turn
            if running is not None:
                self._recheck(running, partial(_cancel, session, running))

    def _recheck(self, turn: Turn, end: Callable[[str], None]) -> None:
        if turn.lost_access is not None:
            self._tasks.start(self._end_where_lost(turn.lost_access(), end), name=turn.turn_id)

    @staticmethod
    async def _end_where_lost(lost_access: Awaitable[str | None], end: Callable[[str], None]) -> None:
        reason = await lost_access
        if reason is not None:
            end(reason)

    def withdraw(self, thread_id: str, key: str) -> bool:
        """As :meth:`Pool.withdraw`."""
        session = self._table.current.get(thread_id)
        return self._line.withdraw(thread_id, key) or (session is not None and session.turns.withdraw(key))

    def send_now(self, thread_id: str, key: str | None, by: str | None) -> SendNow:
        """Run a turn that waits before others, and cancel the running one for it. ``by``: who wants that.

        ``key``: its key; ``None``: the one that has come last. What was to run now before goes first.
        """
        waiting, session = self._line.get(thread_id), self._table.of_thread(thread_id)
        if waiting is not None and (turn := find(waiting.turns, key)) is not None:
            self._line.put_first(waiting, turn)
            self._keep_order(waiting.turns, turn)
            return "next"
        if session is None or (turn := find(session.turns.queue, key)) is None:
            return "gone"
        is_cancelled = session.turns.send_now(turn, by)
        self._keep_order(session.turns.queue, turn)
        return "interrupted" if is_cancelled else "next"

    def _keep_order(self, queue: Iterable[Turn], turn: Turn) -> None:
        """Have the next run of the daemon run this turn before those that it has passed."""
        waiting = [one.turn_id for one in queue if one.message is not None]
        if turn.turn_id in waiting:
            self._store.turns_passed(waiting[waiting.index(turn.turn_id) + 1 :])

    def revise(self, thread_id: str, key: str, blocks: list[dict[str, Any]], text: str) -> Turn | None:
        """As :meth:`Pool.revise`."""
        turn, session = self._line.find(thread_id, key), self._table.current.get(thread_id)
        if turn is not None:
            turn.blocks, turn.text = blocks, text
            return turn
        return None if session is None else session.turns.revise(key, blocks, text)


def _cancel(session: Session, turn: Turn, reason: str) -> None:
    if session.turns.turn is turn:
        session.turns.cancel(reason)
