"""A blocking ACP client, small and strict: it drives the demo agent as a process and validates each line it gets."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from acp import schema

from tests.support.coverage_environ import COVERAGE_ENVIRON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT = 20.0

RESULTS = {
    "initialize": schema.InitializeResponse,
    "authenticate": schema.AuthenticateResponse,
    "session/new": schema.NewSessionResponse,
    "session/load": schema.LoadSessionResponse,
    "session/resume": schema.ResumeSessionResponse,
    "session/list": schema.ListSessionsResponse,
    "session/close": schema.CloseSessionResponse,
    "session/prompt": schema.PromptResponse,
    "session/set_mode": schema.SetSessionModeResponse,
    "session/set_config_option": schema.SetSessionConfigOptionResponse,
}


def check(model: Any, value: dict[str, Any], *, beyond: frozenset[str] = frozenset()) -> None:
    """Check a value against the SDK's schema: nothing invalid, and (but for ``beyond``) nothing that it would drop."""
    known = {key: item for key, item in value.items() if key not in beyond}
    read = model.model_validate(known).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert read == known


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - a /proc file
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def ended(pid: int) -> bool:
    """Wait until the process has ended, LIMIT seconds at most; whether it did."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        return bool(select.select([pidfd], [], [], LIMIT)[0])
    finally:
        os.close(pidfd)


class Driver:
    """One agent process. ``decide`` answers permission requests with an option id, ``None`` leaves them open."""

    def __init__(self, cwd: Path, *, pace: str = "0", env: dict[str, str] | None = None) -> None:
        self.cwd = cwd
        self.seen: list[dict[str, Any]] = []
        self.noise: list[bytes] = []
        self.decide: Callable[[dict[str, Any]], str | None] = lambda _params: "allow-once"
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._methods: dict[int, str] = {}
        self._last_id = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "acpbot.demo.agent"],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "ACPBOT_DEMO_PACE": pace, **COVERAGE_ENVIRON, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line)
        self._lines.put(b"")

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def send(self, method: str, params: dict[str, Any], *, notify: bool = False) -> int:
        self._last_id += 1
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        if not notify:
            message["id"] = self._last_id
            self._methods[self._last_id] = method
        self.write(json.dumps(message).encode() + b"\n")
        return self._last_id

    def receive(self) -> dict[str, Any] | None:
        """The next message, checked; ``None`` at the end of stdout."""
        while line := self._lines.get(timeout=LIMIT):
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                self.noise.append(line)
                continue
            self._check(message)
            self.seen.append(message)
            return message
        return None

    def _check(self, message: dict[str, Any]) -> None:
        assert message["jsonrpc"] == "2.0"
        if message.get("method") == "session/update":
            check(schema.SessionNotification, message["params"])
        elif message.get("method") == "session/request_permission":
            check(schema.RequestPermissionRequest, message["params"])
        elif "result" in message:
            method = self._methods.get(message["id"])
            if method in RESULTS:
                check(RESULTS[method], message["result"], beyond=frozenset({"models"}))
        else:
            assert set(message["error"]) <= {"code", "message", "data"}
            assert message["error"]["message"].startswith("cannot ")

    def messages(self) -> Iterator[dict[str, Any]]:
        while (message := self.receive()) is not None:
            yield message

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on, answering permission requests, until a message is as wanted."""
        for message in self.messages():
            if message.get("method") == "session/request_permission":
                self._answer(message)
            if wanted(message):
                return message
        raise AssertionError(f"stdout ended; stderr: {self.stderr()[-2000:]!r}")

    def _answer(self, message: dict[str, Any]) -> None:
        chosen = self.decide(message["params"])
        if chosen is not None:
            self.answer(message, {"outcome": {"outcome": "selected", "optionId": chosen}})

    def answer(self, message: dict[str, Any], result: dict[str, Any]) -> None:
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        self.write(json.dumps(answer).encode() + b"\n")

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request; its whole answer."""
        number = self.send(method, params or {})
        return self.until(lambda message: message.get("id") == number and "method" not in message)

    def new(self) -> str:
        """Open a session; its id. Reads up to the list of commands."""
        session = self.call("session/new", {"cwd": str(self.cwd), "mcpServers": []})["result"]["sessionId"]
        self.until_update("available_commands_update")
        return session

    def until_update(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Read on to an update of this kind with these fields; its body."""

        def wanted(message: dict[str, Any]) -> bool:
            update = message.get("params", {}).get("update", {})
            return update.get("sessionUpdate") == kind and fields.items() <= update.items()

        return self.until(wanted)["params"]["update"]

    def prompt(self, session: str, text: str) -> Turn:
        """A whole turn."""
        return self.finish(self.start(session, text))

    def start(self, session: str, *texts: str) -> int:
        blocks = [{"type": "text", "text": text} for text in texts]
        self.seen.clear()
        return self.send("session/prompt", {"sessionId": session, "prompt": blocks})

    def finish(self, number: int) -> Turn:
        answer = self.until(lambda message: message.get("id") == number and "method" not in message)
        return Turn(answer, [message for message in self.seen if message is not answer])

    def is_silent(self) -> bool:
        """Whether a request gets no answer for half a second, which an agent at work answers in a millisecond."""
        self.send("session/list", {})
        try:
            self._lines.get(timeout=0.5)
        except queue.Empty:
            return True
        return False

    def cancel(self, session: str) -> None:
        self.send("session/cancel", {"sessionId": session}, notify=True)

    def stderr(self) -> bytes:
        """All of stderr, once the agent has ended."""
        return self.process.stderr.read() if self.process.stderr else b""

    def end_input(self) -> int:
        """Close stdin and wait; the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(LIMIT)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Turn:
    """The answer and the updates of a prompt."""

    def __init__(self, answer: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        self.answer = answer
        self.updates = [m["params"]["update"] for m in messages if m.get("method") == "session/update"]
        self.asked = [m["params"] for m in messages if m.get("method") == "session/request_permission"]

    @property
    def stop(self) -> str:
        return self.answer["result"]["stopReason"]

    @property
    def chunks(self) -> list[str]:
        return [update["content"]["text"] for update in self.kind("agent_message_chunk")]

    @property
    def text(self) -> str:
        return "".join(self.chunks)

    def kind(self, *kinds: str) -> list[dict[str, Any]]:
        return [update for update in self.updates if update["sessionUpdate"] in kinds]

    @property
    def tool_statuses(self) -> list[str]:
        return [update["status"] for update in self.kind("tool_call", "tool_call_update")]
