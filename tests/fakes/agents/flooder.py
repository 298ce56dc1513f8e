"""An agent that sends what the prompt names, as much of it as it can: titles, calls, plans, inputs."""

from __future__ import annotations

import json
import sys

MEGABYTE = 1_000_000
OUT = sys.stdout.buffer


def say(message: dict) -> None:
    OUT.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    OUT.flush()


def update(kind: str, **members) -> None:
    params = {"sessionId": "s", "update": {"sessionUpdate": kind, **members}}
    OUT.write(json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}).encode() + b"\n")


def titles() -> None:
    for number in range(300):
        update("tool_call", toolCallId=str(number), title=f"{number}" + "t" * MEGABYTE)


def calls(count: int = 40_000) -> None:
    for number in range(count):
        update("tool_call", toolCallId=str(number), title=f"call {number}", status="in_progress")


def images() -> None:
    data = "A" * (700 * 1024)
    for number in range(200):
        content = {"type": "image", "mimeType": "image/png", "data": data}
        update("tool_call", toolCallId=str(number), title="i", content=[{"type": "content", "content": content}])
        update("agent_message_chunk", content=content)


def raw_input() -> None:
    for number in range(8):
        update("tool_call", toolCallId=str(number), title="input", rawInput={"text": "x" * 31 * MEGABYTE})


def raw_input_list() -> None:
    for number in range(4):
        update("tool_call", toolCallId=str(number), title="input", rawInput=[{"a": []}] * 2 * MEGABYTE)


def plan() -> None:
    for _ in range(3):
        update("plan", entries=[{"content": f"step {n}", "status": "pending"} for n in range(100_000)])
    for number in range(5000):
        update("tool_call_update", toolCallId="one", title=f"now {number}")


def commands() -> None:
    many = [{"name": f"command{number}", "description": "d" * 1000} for number in range(10_000)]
    for _ in range(3):
        update("available_commands_update", availableCommands=many)


def small_values() -> None:
    for number in range(3000):
        update("tool_call_update", toolCallId="one", rawInput=[[]] * 1900, title=str(number))


def permission_ids() -> None:
    for number in range(40):
        say({"id": "i" * MEGABYTE + str(number), "method": "session/request_permission", "params": {}})


def endless() -> None:
    for _ in range(200):
        OUT.write(b"x" * MEGABYTE)
    OUT.write(b"\n")


FLOODS = (titles, calls, images, raw_input, raw_input_list, plan, commands, small_values, permission_ids, endless)

if __name__ == "__main__":
    for request in map(json.loads, sys.stdin.buffer):
        match request.get("method"):
            case "initialize":
                say({"id": request["id"], "result": {"protocolVersion": 1, "agentCapabilities": {}}})
            case "session/new":
                say({"id": request["id"], "result": {"sessionId": "s"}})
            case "session/prompt":
                text = request["params"]["prompt"][0]["text"]
                for flood in FLOODS:
                    if flood.__name__ == text:
                        flood()
                update("agent_message_chunk", content={"type": "text", "text": text})
                say({"id": request["id"], "result": {"stopReason": "end_turn"}})
