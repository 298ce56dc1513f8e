"""A correct agent in a few lines, for others to break: it answers each prompt with the prompt's own text.

It starts hundreds of times in a test run, so it imports little: typing, pathlib and the like would double its start.
"""

from __future__ import annotations

import json
import sys


class Agent:
    """Each method has a handler, which :meth:`on` replaces.

    ``starts`` counts the processes that this working directory has seen, so that a quirk can wait for the
    second process of a session.
    """

    def __init__(self) -> None:
        with open("starts", "a+", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
            file.write("x")
            self.starts = file.tell()
        self.session = f"acp-{self.starts}"
        self.capabilities: dict = {}
        self.initialized = None
        self.before_answers: list = []
        self.shape = lambda message: message
        self.corked = False
        self._asked = 0
        self._handlers = {
            "initialize": self._initialize,
            "session/new": lambda request: self.answer(request, {"sessionId": self.session}),
            "session/load": self._reopen,
            "session/resume": self._reopen,
            "session/close": lambda request: self.answer(request, {}),
            "session/prompt": self.echo,
            "session/cancel": lambda _: None,
        }

    def on(self, method: str):
        def put(handler) -> None:
            self._handlers[method] = handler

        return put

    def offers(self, *names: str) -> None:
        """Advertise ``load``, or session capabilities."""
        sessions: dict[str, dict] = {name: {} for name in names if name != "load"}
        self.capabilities = {"loadSession": "load" in names, "sessionCapabilities": sessions}

    # The wire.

    def raw(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        if not self.corked:
            sys.stdout.buffer.flush()

    def send(self, **members) -> None:
        self.raw(json.dumps(self.shape({"jsonrpc": "2.0", **members})).encode() + b"\n")

    def read(self) -> dict | None:
        line = sys.stdin.buffer.readline()
        return json.loads(line) if line else None

    def answer(self, request: dict, result) -> None:
        for line in self.before_answers:
            self.raw(line + b"\n")
        self.send(id=request["id"], result=result)

    def refuse(self, request: dict, code, message: str) -> None:
        self.send(id=request["id"], error={"code": code, "message": message})

    def update(self, kind, session: str | None = None, **body) -> None:
        update = {"sessionUpdate": kind, **body}
        self.send(method="session/update", params={"sessionId": session or self.session, "update": update})

    def say(self, text: str, session: str | None = None) -> None:
        self.update("agent_message_chunk", session, content={"type": "text", "text": text})

    def end(self, request: dict, reason: str = "end_turn") -> None:
        self.answer(request, {"stopReason": reason})

    def call(self, method: str, params) -> str:
        self._asked += 1
        self.send(id=f"a-{self._asked}", method=method, params=params)
        return f"a-{self._asked}"

    def wait_for(self, identity: str) -> dict:
        """The answer to a request of ours; what else comes meanwhile is passed over."""
        while (message := self.read()) is not None:
            if message.get("id") == identity and "method" not in message:
                return message
        sys.exit(0)

    def ask(self, *options: str, session: str | None = None, **members) -> str:
        """Request a permission. An option is ``kind:id``."""
        offered = [dict(zip(("kind", "optionId"), option.split(":"), strict=True)) for option in options]
        return self.call(
            "session/request_permission",
            {"sessionId": session or self.session, "options": offered, "toolCall": {"toolCallId": "t"}, **members},
        )

    # What a sound one does.

    def _initialize(self, request: dict) -> None:
        sound = {"protocolVersion": 1, "agentCapabilities": self.capabilities}
        self.answer(request, sound if self.initialized is None else self.initialized)

    def _reopen(self, request: dict) -> None:
        self.session = request["params"]["sessionId"]
        self.answer(request, {})

    def echo(self, request: dict) -> None:
        self.say(words(request))
        self.end(request)

    def serve(self) -> None:
        while (message := self.read()) is not None:
            handler = self._handlers.get(message.get("method", ""))
            if handler is not None:
                handler(message)


def words(request: dict) -> str:
    return request["params"]["prompt"][0]["text"]


def chosen(answer: dict) -> str:
    """In words, what a permission's answer says."""
    if "error" in answer:
        return f"error {answer['error']['code']}"
    outcome = answer["result"]["outcome"]
    return outcome["outcome"] + (f" {outcome['optionId']}" if "optionId" in outcome else "")
