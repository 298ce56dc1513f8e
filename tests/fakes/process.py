"""An agent's stdin and stdout in memory, for what needs no process: it keeps what is written."""

from __future__ import annotations

import asyncio

from acpbot.errors import AgentGone


class MemoryStream:
    """An :class:`acpbot.acp.connection.ByteStream`. ``written``: what was sent; ``paused``: whether reading is."""

    def __init__(self) -> None:
        self.alive = True
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
