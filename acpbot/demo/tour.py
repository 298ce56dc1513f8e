"""The guided tour: what a chat user and an operator see, shown without a terminal.

It uses the daemon's socket as `acpctl chat` does, and runs the real `acpctl` for what an operator would type.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from acpbot.errors import AcpbotError
from acpctl.client import DaemonConnection
from acpctl.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACPCTL: Final = (sys.executable, "-m", "acpctl")
THREAD: Final = "demo"
_SECONDS: Final = 60.0

Event = dict[str, Any]


class TourFailed(AcpbotError):
    """A step of the tour failed."""


def say(text: str = "", *, end: str = "\n") -> None:
    """Print without buffering, so that a person sees the text grow."""
    print(text, end=end, flush=True)  # noqa: T201 - the output of the command


class Tour:
    """``demo_agent``: use the commands of the demo agent; else the prompts are plain sentences."""

    def __init__(self, path: Path, environ: dict[str, str], folder: Path, *, demo_agent: bool) -> None:
        self._environ = environ
        self._folder = folder
        self._demo_agent = demo_agent
        self._chat = DaemonConnection(str(path), timeout=_SECONDS)
        self._step = 0

    def run(self) -> int:
        """Show the tour; return 0. Raises TourFailed where a step fails."""
        say(f"acpbot demo: a daemon and an agent are running in {self._folder}. Both stop when this ends.")
        try:
            self._show_all()
        except CliError as error:
            raise TourFailed(error.message) from None
        say("\nThat was the tour. On a terminal, `acpbot demo` opens the chat itself. README.md has the next steps.")
        return 0

    def _show_all(self) -> None:
        with self._chat:
            self._chat.call("chat.open", {"thread": THREAD})
            if self._demo_agent:
                self._turn("A person writes, and the answer grows", "stream 24")
                self._turn("The agent wants to run a tool, and asks first", "tool date -u")
                self._show_sessions("sleep 60")
            else:
                self._turn("A person writes, and the answer grows", "Say hello in one short sentence.")
                self._show_sessions("Count slowly from 1 to 200, one number a line.")
            self._run_acpctl("Is everything OK?", "health")
            self._kill()
            self._turn("The next message in the same thread is answered", self._last_prompt)

    @property
    def _last_prompt(self) -> str:
        return "say Here I am again, in a new process." if self._demo_agent else "Are you still there?"

    def _title(self, title: str) -> None:
        self._step += 1
        say(f"\n{self._step}. {title}")

    def _events(self) -> Iterator[Event]:
        while messages := self._chat.receive(_SECONDS):
            for message in messages:
                if message.get("method") == "chat.event":
                    yield message["params"]
        raise TourFailed(f"cannot go on with the tour: nothing happened for {_SECONDS:g} s")

    def _send(self, prompt: str) -> None:
        say(f"you> {prompt}")
        self._chat.reset_deadline()
        self._chat.call("chat.send", {"thread": THREAD, "text": prompt})

    def _turn(self, title: str, prompt: str) -> None:
        self._title(title)
        self._send(prompt)
        started, pieces = time.monotonic(), 0
        for event in self._events():
            if event["type"] == "text":
                pieces += 1
                say(event["text"], end="")
            elif event["type"] == "turn_end":
                seconds = time.monotonic() - started
                if event.get("error") or event["stop_reason"] != "end_turn":
                    raise TourFailed(f"cannot go on with the tour: {event.get('error') or event['stop_reason']}")
                say(f"\n[{event['stop_reason']}: {len(event['text'])} characters in {pieces} pieces, {seconds:.1f} s]")
                return
            else:
                self._print(event)

    def _print(self, event: Event) -> None:
        match event["type"]:
            case "tool" if event.get("status"):
                title = f" {event['title']}" if event.get("title") else ""
                say(f"[tool{title}: {event['status']}]")
            case "permission":
                option = next((o for o in event["options"] if o["kind"].startswith("allow")), event["options"][0])
                names = ", ".join(o["name"] or o["option_id"] for o in event["options"])
                say(f"[{event['question']} {event['action']}; options: {names}]")
                say(f"you> {option['name'] or option['option_id']}")
                params = {"thread": THREAD, "request": event["request"], "option": option["option_id"]}
                self._chat.call("chat.permit", params)
            case "notice":
                say(f"[{event['text']}]")

    def _show_sessions(self, prompt: str) -> None:
        self._title("While a turn runs, an operator takes a look")
        self._send(prompt)
        wanted = "tool" if self._demo_agent else "text"
        for event in self._events():
            self._print(event)
            running = event["type"] == wanted and event.get("status") in {None, "in_progress"}
            if running or event["type"] == "turn_end":
                break
        self._acpctl("sessions")

    def _run_acpctl(self, title: str, *words: str) -> None:
        self._title(title)
        self._acpctl(*words)

    def _kill(self) -> None:
        self._title("The operator ends the session (on a terminal acpctl asks first; --yes skips that)")
        self._acpctl("kill", THREAD, "--yes")
        for event in self._events():
            self._print(event)
            if event["type"] == "notice":
                return

    def _acpctl(self, *words: str) -> None:
        say(f"$ acpctl {' '.join(words)}")
        status = subprocess.run([*ACPCTL, *words], env=self._environ, check=False).returncode
        if status != 0:
            raise TourFailed(f"cannot go on with the tour: `acpctl {' '.join(words)}` exited with {status}")
