"""Who listens to turns of any shape, and measures what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from pathlib import Path

from acpbot.acp import schema
from acpbot.sessions.turn import Turn

PATIENCE = 20
"""Seconds that anything may take, before a test gives up on it."""


class Hearer:
    """Collects what a turn tells, whatever its shape."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.kinds: list[str] = []
        self.asks = []
        self.outcomes = []
        self.starts = 0
        self.end = None
        self.running = asyncio.Event()
        self.over = asyncio.Event()
        self.wants_permission = asyncio.Event()
        self._more = asyncio.Event()

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def on_started(self) -> None:
        self.starts += 1
        self.running.set()

    def on_update(self, update) -> None:
        self.kinds.append(update.kind)
        if update.kind == "agent_message_chunk":
            self.pieces.append(schema.chunk_text(update.body))
        self._more.set()

    def on_permission_request(self, ask) -> None:
        self.asks.append(ask)
        self.wants_permission.set()

    def on_permission_resolved(self, ask) -> None:
        self.outcomes.append(ask.outcome)

    def on_ended(self, end) -> None:
        assert self.end is None, "a turn ends once"
        self.end = end
        self.over.set()

    async def sees(self, text: str) -> None:
        while text not in self.text:
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), PATIENCE)

    async def ends(self) -> None:
        await asyncio.wait_for(self.over.wait(), PATIENCE)


def send(harness, text: str, hearer: Hearer | None = None, thread: str = "1001") -> Hearer:
    hearer = hearer or Hearer()
    harness.pool.submit(thread, Turn([schema.text_block(text)], hearer, text=text), platform="test", owner="7")
    return hearer


async def turn(harness, text: str, thread: str = "1001") -> Hearer:
    hearer = send(harness, text, thread=thread)
    await hearer.ends()
    return hearer


async def settled(harness) -> None:
    """Wait until nothing is about to end."""
    while any(row.state == "closing" for row in harness.pool.rows()):
        harness.told.ended.clear()
        await asyncio.wait_for(harness.told.ended.wait(), PATIENCE)


def memory(name: str) -> int:
    """Of this process, in bytes: ``VmRSS``, or ``VmHWM``, its peak (proc(5))."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))


@contextlib.contextmanager
def grows_less_than(limit: int):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (proc(5))
    before = memory("VmRSS")
    yield
    assert memory("VmHWM") - before < limit
