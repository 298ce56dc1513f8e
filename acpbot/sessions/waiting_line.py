"""Threads that wait for an agent while all are busy: first come, first served. One that was accepted is never refused.

The turns of a thread in the line are stored as queued, so a restart makes the line again, in the same order.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from acpbot.errors import TooMany, WireError
from acpbot.logs import get_logger
from acpbot.sessions.turn import Place, Turn, TurnEnd, failed, finish_all
from acpbot.sessions.turn_queue import put_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from acpbot.config.in_force import SettingsInForce

log = get_logger(__name__)

MOST: Final = 100
"""So many threads wait at once."""
MOST_OF_PERSON: Final = 25
"""Of these, so many wait for turns that the same person asked for first: nobody fills the line alone."""


@dataclass(eq=False)
class Waiting:
    """A thread in the line. ``owner``, ``agent`` and ``channel`` are those of a thread that is new.

    ``retried`` as :meth:`TurnRunner.take_over`'s. ``held``: its last session is ending, so it does not start yet.
    """

    thread_id: str
    platform: str
    owner: str | None = None
    agent: str | None = None
    channel: str | None = None
    turns: list[Turn] = field(default_factory=list)
    retried: Turn | None = None
    held: bool = False


class WaitingLine:
    """All methods belong to the event loop's thread. ``may_start``: whether sessions may be started at all now.

    ``start`` starts a session for a thread of the line and gives it the thread's turns; it raises TooMany where there
    is no place, and another WireError where the thread can't start at all.
    """

    def __init__(
        self, settings: SettingsInForce, start: Callable[[Waiting], None], may_start: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._start = start
        self._may_start = may_start
        self._threads: dict[str, Waiting] = {}
        self._busy = 0
        self._starting = False

    def __len__(self) -> int:
        """How many threads wait."""
        return len(self._threads)

    def turns(self) -> Iterator[tuple[Waiting, Turn]]:
        """All turns in the line, each with its thread."""
        return ((waiting, turn) for waiting in self._threads.values() for turn in waiting.turns)

    def get(self, thread_id: str) -> Waiting | None:
        """What waits of this thread."""
        return self._threads.get(thread_id)

    def queued(self, thread_id: str) -> int:
        """How many turns of this thread are in the line."""
        waiting = self._threads.get(thread_id)
        return 0 if waiting is None else len(waiting.turns)

    # In.

    def check(self, platform: str, turn: Turn) -> None:
        """Raise TooMany where no other thread may join for ``turn``."""
        if turn.recovered:
            return
        firsts = [waiting.turns[0].asker for waiting in self._threads.values() if waiting.turns]
        own = sum(
            waiting.platform == platform and bool(waiting.turns) and waiting.turns[0].asker == turn.asker
            for waiting in self._threads.values()
        )
        if turn.asker is not None and own >= MOST_OF_PERSON:
            raise TooMany(
                f"cannot wait for an agent: user {turn.asker} has {own} threads waiting; wait for some to start",
                limit="line",
                count=own,
                person=turn.asker,
            )
        if len(firsts) >= MOST:
            raise TooMany(
                f"cannot wait for an agent: {len(firsts)} threads are already waiting; raise [pool] max_sessions",
                limit="line",
                count=len(firsts),
            )

    def join(self, waiting: Waiting, *, first: bool = False) -> int:
        """Put a thread at the end of the line, or (``first``) at its head; its place, 1 is the next one."""
        old = self._threads
        self._threads = {waiting.thread_id: waiting, **old} if first else {**old, waiting.thread_id: waiting}
        self.advance()
        return self._place(waiting)

    def add(self, waiting: Waiting, turn: Turn) -> int:
        """Another turn of a thread in the line; how many turns and threads are before it.

        Raises TooMany where too many of its turns wait.
        """
        most, others = self._settings.now.pool.max_queued, len(waiting.turns) - (not waiting.held)
        if others >= most and not turn.recovered:
            words = "1 message is already waiting" if others == 1 else f"{others} messages are already waiting"
            raise TooMany(f"cannot queue: {words} in this thread; wait for an answer", limit="queue", count=others)
        waiting.turns.append(turn)
        self._report()
        return self._place(waiting) + len(waiting.turns) - 1

    def put_first(self, waiting: Waiting, turn: Turn) -> None:
        """Run a turn of a thread in the line before the thread's others."""
        put_first(waiting.turns, turn)
        self._report()

    def release(self, waiting: Waiting) -> None:
        """The thread's last session has ended: it may start."""
        waiting.held = False
        if not waiting.turns:
            self._leave(waiting)
        self.advance()

    # Out.

    def advance(self) -> None:
        """Start the threads for which there is a place now, in their order.

        One whose person has too many sessions lets the others pass, and keeps its place.
        """
        if self._starting or not self._threads or not self._may_start():
            return
        self._starting = True
        self._busy = 0
        try:
            for waiting in list(self._threads.values()):
                if waiting.held:
                    continue
                try:
                    self._start(waiting)
                except TooMany as error:
                    if error.limit == "sessions":
                        self._busy = error.count
                        break
                    continue
                except WireError as error:
                    log.warning("waiting_thread_refused", thread=waiting.thread_id, reason=str(error))
                    finish_all(waiting.turns, failed(error))
                self._leave(waiting)
        finally:
            self._starting = False
        self._report()

    def withdraw(self, thread_id: str, key: str) -> bool:
        """Take a turn out of the line, by its key; whether there was one."""
        return bool(self._end(thread_id, lambda turn: turn.key == key, TurnEnd("cancelled")))

    def cancel(self, thread_id: str, asker: str | None = None, by: str | None = None) -> int:
        """Take out all turns of a thread, or those that ``asker`` asked for; how many. ``by``: who wants that."""
        end = TurnEnd("cancelled", cancelled_by=by)
        return self._end(thread_id, lambda turn: asker is None or turn.asker == asker, end)

    def find(self, thread_id: str, key: str) -> Turn | None:
        """A turn in the line, by its key."""
        waiting = self._threads.get(thread_id)
        return None if waiting is None else next((turn for turn in waiting.turns if turn.key == key), None)

    def end_all(self, end: Callable[[Waiting, Turn], TurnEnd]) -> None:
        """The daemon stops: end every turn in the line, each with what ``end`` returns."""
        turns = list(self.turns())
        self._threads = {}
        for waiting, turn in turns:
            turn.finish(end(waiting, turn))

    def refuse(self, waiting: Waiting, turn: Turn, reason: str) -> None:
        """Take a turn out of the line with an error: ``reason``, a sentence for people."""
        self._end(waiting.thread_id, partial(operator.is_, turn), TurnEnd("error", reason))

    def _end(self, thread_id: str, which: Callable[[Turn], bool], end: TurnEnd) -> int:
        waiting = self._threads.get(thread_id)
        if waiting is None:
            return 0
        ended = [turn for turn in waiting.turns if which(turn)]
        waiting.turns[:] = [turn for turn in waiting.turns if turn not in ended]
        if not waiting.turns and not waiting.held:
            self._leave(waiting)
        count = len(ended)
        finish_all(ended, end)
        self._report()
        return count

    def _leave(self, waiting: Waiting) -> None:
        if self._threads.get(waiting.thread_id) is waiting:
            del self._threads[waiting.thread_id]

    # Places.

    def _place(self, waiting: Waiting) -> int:
        """1 is the next one; 0: it is not in the line."""
        return next((place for place, other in enumerate(self._threads.values(), 1) if other is waiting), 0)

    def _report(self) -> None:
        """Report to each turn in the line where it is."""
        for place, waiting in enumerate(self._threads.values(), 1):
            for ahead, turn in enumerate(waiting.turns):
                turn.waits_at(Place(ahead, place, self._busy))
