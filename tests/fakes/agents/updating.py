"""A correct agent whose prompts say what it sends: a prompt is a JSON array of update bodies, sent as they are.

A member ``"$bytes": N`` stands for N bytes in base64, and begins like a PNG. A string in the array is a line that goes
out byte for byte.
"""

from __future__ import annotations

import base64
import json

from tests.fakes.agents.sound import Agent, words

PNG = b"\x89PNG\r\n\x1a\n"


def filled(value):
    if isinstance(value, dict) and "$bytes" in value:
        return base64.b64encode(PNG + bytes(value["$bytes"] - len(PNG))).decode()
    if isinstance(value, dict):
        return {key: filled(member) for key, member in value.items()}
    return [filled(member) for member in value] if isinstance(value, list) else value


def perform(agent: Agent, request: dict) -> None:
    text = words(request)
    for sent in json.loads(text[text.index("[") :]):
        if isinstance(sent, str):
            agent.raw(sent.replace("$SESSION", agent.session).encode("utf-8", "surrogatepass") + b"\n")
        else:
            body = filled(sent)
            agent.update(body.pop("sessionUpdate"), **body)
    agent.end(request)


if __name__ == "__main__":
    agent = Agent()
    agent.offers("load", "resume")
    agent.on("session/prompt")(lambda request: perform(agent, request))
    agent.serve()
