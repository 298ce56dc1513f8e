"""An agent that sends COUNT updates (its argument) on every prompt, as fast as the pipe takes them.

The lines are made when it starts, so that the reader is what is measured.
"""

from __future__ import annotations

import json
import sys


def say(message: dict) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def line(number: int) -> bytes:
    content = {"type": "text", "text": f"{number:08d} of the words that an agent says "}
    params = {"sessionId": "blast", "update": {"sessionUpdate": "agent_message_chunk", "content": content}}
    return json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}).encode() + b"\n"


LINES = b"".join(map(line, range(int(sys.argv[1]))))

for request in map(json.loads, sys.stdin.buffer):
    match request["method"]:
        case "initialize":
            say({"id": request["id"], "result": {"protocolVersion": 1, "agentCapabilities": {}}})
        case "session/new":
            say({"id": request["id"], "result": {"sessionId": "blast"}})
        case "session/prompt":
            sys.stdout.buffer.write(LINES)
            say({"id": request["id"], "result": {"stopReason": "end_turn"}})
