"""The demo agent with one more command: ``kind KIND`` sends a tool call of that ACP kind and completes it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from acpbot.demo.agent import main
from acpbot.demo.agent_commands import COMMANDS, Command

if TYPE_CHECKING:
    from acpbot.demo.agent_turn import DemoTurn


def kind(turn: DemoTurn, kind: str) -> None:
    """Sends a tool call of this kind."""
    call = turn.tool("x", kind)
    turn.update("tool_call_update", toolCallId=call, status="in_progress")
    turn.pause(0.2)
    turn.update("tool_call_update", toolCallId=call, status="completed")
    turn.line(f"kind {kind} done")


if __name__ == "__main__":
    COMMANDS["kind"] = Command(kind, "KIND", (0, 0), (True, True))
    sys.exit(main(sys.argv[1:]))
