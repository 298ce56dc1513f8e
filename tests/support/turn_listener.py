"""Listeners for turns of any shape, and measurements of what turns cost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.acp import schema
from acpbot.sessions.turn import PermissionNote, PermissionRequest, Turn, TurnEnd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acpbot.sessions.questions import Question
    from tests.support.pool import Harness

PATIENCE = 20
"""Seconds that anything may take, before a test gives up on it."""


class AnyListener:
    """Collects what a turn reports, whatever its shape."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.kinds: list[str] = []
        self.asks: list[PermissionRequest] = []
        self.notes: list[PermissionNote] = []
        self.questions: list[Question] = []
        self.question_outcomes: list[str | None] = []
        self.outcomes: list[str | None] = []
        self.starts = 0
        self._end: TurnEnd | None = None
        self.running = asyncio.Event()
        self.over = asyncio.Event()
        self.wants_permission = asyncio.Event()
        self.is_asked = asyncio.Event()
        self._more = asyncio.Event()

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def end(self) -> TurnEnd:
        """How the turn ended."""
        assert self._end is not None, "the turn has not ended"
        return self._end

    @property
    def error(self) -> str:
        """Why it ended with an error, as operators read it; empty where it did not."""
        return self.end.for_operators or ""

    def on_started(self) -> None:
        self.starts += 1
        self.running.set()

    def on_update(self, update: schema.Update) -> None:
        self.kinds.append(update.kind)
        if update.kind == "agent_message_chunk":
            self.pieces.append(schema.chunk_text(update.body))
        self._more.set()

    def on_permission_request(self, ask: PermissionRequest) -> None:
        self.asks.append(ask)
        self.wants_permission.set()

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        self.outcomes.append(ask.outcome)

    def on_question(self, question: Question) -> None:
        self.questions.append(question)
        self.is_asked.set()

    def on_question_closed(self, question: Question) -> None:
        self.question_outcomes.append(question.outcome)

    def on_permission_note(self, note: PermissionNote) -> None:
        self.notes.append(note)

    def on_ended(self, end: TurnEnd) -> None:
        assert self._end is None, "a turn ends once"
        self._end = end
        self.over.set()

    async def sees(self, text: str) -> None:
        while text not in self.text:
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), PATIENCE)

    async def ends(self) -> None:
        await asyncio.wait_for(self.over.wait(), PATIENCE)


def send(harness: Harness, text: str, listener: AnyListener | None = None, thread: str = "1001") -> AnyListener:
    listener = listener or AnyListener()
    harness.pool.submit(thread, Turn([schema.text_block(text)], listener, text=text), platform="test", owner="7")
    return listener


async def turn(harness: Harness, text: str, thread: str = "1001") -> AnyListener:
    listener = send(harness, text, thread=thread)
    await listener.ends()
    return listener


async def settled(harness: Harness) -> None:
    """Wait until nothing is about to end."""
    while any(row.state == "closing" for row in harness.pool.rows()):
        harness.events.ended.clear()
        await asyncio.wait_for(harness.events.ended.wait(), PATIENCE)


def memory(name: str) -> int:
    """Of this process, in bytes: ``VmRSS``, or ``VmHWM``, its peak (proc(5))."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))


@contextlib.contextmanager
def grows_less_than(limit: int) -> Iterator[None]:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again (proc(5))
    before = memory("VmRSS")
    yield
    assert memory("VmHWM") - before < limit
