"""A scripted agent for the chat of the fake daemon: the words of a prompt say what its turn does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fakes.management import Client, FakeDaemon, Message

OPTIONS = [
    {"option_id": "once", "name": "Allow", "kind": "allow_once"},
    {"option_id": "ever", "name": "Always allow", "kind": "allow_always"},
    {"option_id": "no", "name": "Do not", "kind": "reject_once"},
]


class ScriptedAgent:
    """Knows the words ``tool``, ``plan``, ``think``, ``ask``, ``hang`` (until ``go`` or a cancel) and ``fail``."""

    def __init__(self, daemon: FakeDaemon, *, options: list[Message] = OPTIONS) -> None:
        self.go = threading.Event()
        self.answers: list[str] = []
        self.cancelled = False
        self.running = 0
        self._options = options
        self._answered = threading.Event()
        self._turns: list[threading.Thread] = []
        self._one = threading.Lock()
        daemon.on("chat.send", self._send)
        daemon.on("chat.permit", self._permit)
        daemon.on("sessions.cancel", self._cancel)

    def _send(self, params: Message, client: Client) -> Message:
        waiting = sum(turn.is_alive() for turn in self._turns)
        turn = threading.Thread(target=self._turn, args=(params["thread"], params["text"], client), daemon=True)
        self._turns.append(turn)
        client.afterwards.append(turn.start)
        return {"queued": waiting}

    def _permit(self, params: Message, _client: Client) -> Message:
        self.answers.append(params["option"])
        self._answered.set()
        return {}

    def _cancel(self, _params: Message, _client: Client) -> Message:
        self.cancelled = True
        self._answered.set()
        self.go.set()
        return {"outcome": "cancelled"}

    def _turn(self, thread: str, prompt: str, client: Client) -> None:
        with self._one:
            self.running += 1

            def say(name: str, **event: Any) -> None:
                client.chat(thread, name, **event)

            say("turn_start", prompt=prompt)
            if "think" in prompt:
                say("thought", text="Hm, let me see.\n")
            say("text", text="You said: ")
            if "hang" in prompt:
                self.go.wait(10)
            if "plan" in prompt:
                steps = (("Read it", "completed"), ("Fix it", "in_progress"), ("Test it", "pending"))
                say("plan", entries=[{"content": step, "status": status, "priority": "high"} for step, status in steps])
            if "tool" in prompt:
                say("tool", tool_call_id="1", title="make test", kind="execute", status="in_progress")
                say("tool", tool_call_id="1", title=None, kind=None, status="completed")
                say("tool", tool_call_id="2", title="cat nope", kind="read", status="pending")
                say("tool", tool_call_id="2", title=None, kind=None, status="failed")
            if "ask" in prompt:
                asked = {"request": "r1", "title": "Clean up", "tool_call_id": "1", "timeout_seconds": 60}
                shown = {"question": "Run this command?", "action": "rm -rf build/", "withheld": None}
                say("permission", **asked, **shown, options=self._options)
                self._answered.wait(10)
                chosen = self.answers[-1] if self.answers else None
                outcome = "selected" if chosen else "cancelled"
                say("permission_end", request="r1", outcome=outcome, option_id=chosen)
            say("text", text=prompt)
            stop = "error" if "fail" in prompt else "cancelled" if self.cancelled else "end_turn"
            error = "The agent ended unexpectedly." if "fail" in prompt else None
            say("turn_end", stop_reason=stop, text=f"You said: {prompt}", error=error)
            self.cancelled = False
            self.running -= 1
