"""An ACP agent that has its answers from a model server: ``python model_agent.py BASE_URL``, which ends in /v1.

It speaks Chat Completions (https://platform.openai.com/docs/api-reference/chat-streaming) and passes each piece on as
it comes. It starts as fast as Python does, so that what is measured is what lies around it.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import urllib.parse

URL = urllib.parse.urlsplit(sys.argv[1])
SHELL = {"name": "bash", "description": "a shell", "parameters": {"type": "object", "properties": {"command": {}}}}
writing = threading.Lock()
cancelled = threading.Event()
history: list[dict[str, str]] = []


def say(**message) -> None:
    with writing:
        sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        sys.stdout.buffer.flush()


def asked(text: str):
    """Yield the pieces of the model's answer as they come."""
    history.append({"role": "user", "content": text})
    body = {
        "model": "scripted",
        "stream": True,
        "messages": history,
        "tools": [{"type": "function", "function": SHELL}],
    }
    connection = http.client.HTTPConnection(URL.hostname or "", URL.port)
    connection.request(
        "POST", f"{URL.path}/chat/completions", json.dumps(body), headers={"Content-Type": "application/json"}
    )
    whole = ""
    for line in connection.getresponse():
        data = line.removeprefix(b"data: ").strip()
        if cancelled.is_set() or data == b"[DONE]":
            break
        if data:
            piece = json.loads(data)["choices"][0]["delta"].get("content")
            if piece:
                whole += piece
                yield piece
    connection.close()
    history.append({"role": "assistant", "content": whole})


def prompt(request: dict) -> None:
    session = request["params"]["sessionId"]
    text = "\n".join(block.get("text", "") for block in request["params"]["prompt"])
    for piece in asked(text):
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": piece}}
        say(method="session/update", params={"sessionId": session, "update": update})
    say(id=request["id"], result={"stopReason": "cancelled" if cancelled.is_set() else "end_turn"})


for request in map(json.loads, sys.stdin.buffer):
    match request.get("method"):
        case "initialize":
            say(id=request["id"], result={"protocolVersion": 1, "agentCapabilities": {}})
        case "session/new":
            say(id=request["id"], result={"sessionId": "one"})
        case "session/prompt":
            cancelled.clear()
            threading.Thread(target=prompt, args=(request,), daemon=True).start()
        case "session/cancel":
            cancelled.set()
