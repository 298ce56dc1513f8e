"""Agents that do what a test's script says, and the FIFOs by which a test lets them go on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

SCRIPTED = Path(__file__).parents[1] / "fakes" / "agents" / "scripted.py"


def scripted(**script: Any) -> tuple[str, ...]:
    """The command of an agent with this script, as `tests/fakes/agents/scripted.py` has it."""
    return (sys.executable, "-S", str(SCRIPTED), json.dumps(script))


def says(text: str, message_id: str | None = None) -> dict[str, Any]:
    """A step: a piece of text."""
    return {"say": text} if message_id is None else {"say": text, "id": message_id}


def updates(update: str, /, **body: Any) -> dict[str, Any]:
    """A step: an update of this kind."""
    return {"update": {"sessionUpdate": update, **body}}


def runs_tool(identity: str, title: str = "ls") -> dict[str, Any]:
    """A step: a tool call begins."""
    return updates("tool_call", toolCallId=identity, title=title, kind="execute", status="in_progress")


def chunk(kind: str, text: str) -> dict[str, Any]:
    """A step: a piece of another kind than the agent's text."""
    return updates(kind, content={"type": "text", "text": text})


END: dict[str, Any] = {"end": "end_turn"}


class Gate:
    """An agent that pauses here goes on once the gate is opened, once for each pause."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self.step = {"pause": str(path)}

    async def open(self) -> None:
        """Wait until the agent has come to the gate, and let it go on."""
        await asyncio.to_thread(self._path.write_bytes, b"")
