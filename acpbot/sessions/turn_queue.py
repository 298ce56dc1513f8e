"""The turns of one session that wait for the running one: first in, first out, but those that are to run now."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from acpbot.aio import Wakeup
from acpbot.errors import TooMany
from acpbot.sessions.turn import OPERATOR, Place, TurnEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from acpbot.config.in_force import SettingsInForce
    from acpbot.sessions.turn import Turn


def put_first(queue: deque[Turn] | list[Turn], turn: Turn) -> None:
    """Have a turn of the queue run before all but those for which the same was wanted earlier."""
    turn.now = True
    queue.remove(turn)
    queue.insert(sum(other.now for other in queue), turn)


def find(queue: Iterable[Turn], key: str | None) -> Turn | None:
    """A turn that waits, by its key; ``None``: the last one that is not to run before others already."""
    if key is not None:
        return next((turn for turn in queue if turn.key == key), None)
    waiting = [turn for turn in queue if not turn.now]
    return waiting[-1] if waiting else None


class TurnQueue:
    """Bounded; a turn that was accepted once is never refused again. ``on_change``: what a row shows has changed."""

    def __init__(self, settings: SettingsInForce, on_change: Callable[[], None]) -> None:
        self.turn: Turn | None = None
        """The running turn."""
        self.queue: deque[Turn] = deque()
        self.retried: Turn | None = None
        """The turn that the session before this one gave back."""
        self.returned: Turn | None = None
        """The turn that this session gave back."""
        self._settings = settings
        self._on_change = on_change
        self._more = Wakeup()

    def submit(self, turn: Turn) -> int:
        """Queue a turn; how many are before it, the running one included. Raises TooMany when the queue is full."""
        waiting = len(self.queue)
        before = waiting + (self.turn is not None)
        if before and waiting >= self._settings.now.pool.max_queued and not turn.recovered:
            words = "1 message is already waiting" if waiting == 1 else f"{waiting} messages are already waiting"
            raise TooMany(f"cannot queue: {words} in this thread; wait for an answer", limit="queue", count=waiting)
        self.queue.append(turn)
        if turn.now and before:
            put_first(self.queue, turn)
            self.interrupt(turn.asker or OPERATOR)
            before = self.queue.index(turn) + (self.turn is not None)
        self._more.wake()
        self._on_change()
        return before

    def send_now(self, turn: Turn, by: str | None) -> bool:
        """Run a turn of the queue before others, and cancel the running one; whether it could be cancelled."""
        put_first(self.queue, turn)
        is_cancelled = self.interrupt(by)
        self._on_change()
        return is_cancelled

    def interrupt(self, by: str | None) -> bool:
        """Cancel the running turn, so that another one can run now; whether there was one to cancel."""
        raise NotImplementedError

    def take_over(self, turns: Sequence[Turn], retried: Turn | None) -> None:
        """Queue, before all others, the turns of the session before; ``retried`` is the one that it gave back."""
        self.queue.extendleft(reversed(turns))
        self.retried = retried
        self._more.wake()
        self._on_change()

    def give_back(self, turn: Turn) -> None:
        """Put the running turn back to the head of the queue, for the session after this one."""
        self.turn, self.returned = None, turn
        self.queue.appendleft(turn)

    def withdraw(self, key: str) -> bool:
        """Take a queued turn back, by its key; whether there was one."""
        turn = find(self.queue, key)
        if turn is None:
            return False
        self.queue.remove(turn)
        turn.finish(TurnEnd("cancelled"))
        self._on_change()
        return True

    def revise(self, key: str, blocks: list[dict[str, Any]], text: str) -> Turn | None:
        """Replace what a queued turn asks for, by its key; ``None`` where there is none."""
        turn = find(self.queue, key)
        if turn is not None:
            turn.blocks, turn.text = blocks, text
        return turn

    def refuse_queued(self, reason: str) -> None:
        """End the turns that wait with an error: ``reason``."""
        for turn in self.take_queued():
            turn.finish(TurnEnd("error", reason))
        self._on_change()

    def take_queued(self) -> list[Turn]:
        """Take all turns that wait out of the queue, in their order."""
        turns = list(self.queue)
        self.queue.clear()
        return turns

    def report_places(self, start: str) -> None:
        """Report to each turn that waits where it is. ``start`` as :attr:`Place.start`."""
        running = self.turn
        stopping = running is not None and running.cancelled_at is not None
        for ahead, turn in enumerate(self.queue, running is not None):
            if ahead or start:
                may_interrupt = running is not None and not stopping
                is_next = stopping and ahead == 1 and turn.now
                turn.waits_at(Place(ahead, start=start, may_interrupt=may_interrupt, is_next=is_next))
