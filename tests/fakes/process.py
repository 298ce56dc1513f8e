"""An agent process in memory, for what needs no process: it keeps what is written and says what it is told to."""

from __future__ import annotations

import asyncio

from acpbot.errors import AgentGone


class Silence:
    """A stderr that says nothing."""

    def lines(self) -> list[str]:
        return []


class MemoryProcess:
    """Stands in for :class:`acpbot.runtimes.runtime.AgentProcess` where only stdin and reading matter."""

    def __init__(self) -> None:
        self.pid = 1
        self.alive = True
        self.returncode: int | None = None
        self.stderr = Silence()
        self.written: list[bytes] = []
        self.paused = False
        self.wrote = asyncio.Event()

    def write(self, data: bytes) -> None:
        if not self.alive:
            raise AgentGone("cannot reach the agent: it has ended")
        self.written.append(data)
        self.wrote.set()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
