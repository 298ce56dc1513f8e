"""The chat without a terminal: prompts are the lines of stdin, one turn after the other; the answer is stdout."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING, Final

from acpctl.chat.chat_text import TOOL_MARKS, command, help_lines, plan_lines, status_lines, stop_words
from acpctl.exit_codes import DONE, FAILED, Failure

if TYPE_CHECKING:
    from types import FrameType

    from acpctl.chat.chat_client import Ask, Talk, Tool
    from acpctl.client import Connection, Message
    from acpctl.render.output import Output

_STDIN: Final = 0
_READ: Final = 65_536
_FAILED_STOPS: Final = frozenset({"error", "cancelled"})


class PlainFace:
    """The agent's text on stdout, exactly; all else on stderr. Permissions are refused: there is nobody to ask."""

    def __init__(self, out: Output) -> None:
        self.talk: Talk | None = None
        self.status = DONE
        self._out = out
        self._own = False
        self._open_line = False
        self._plan: list[tuple[str, str]] = []

    def turn_started(self, prompt: str, *, own: bool) -> None:
        """Say what somebody else asks in this thread; its answer is not for our stdout."""
        self._own = own
        self._plan = []
        if not own:
            self._out.note(f"« {prompt}")

    def text(self, delta: str) -> None:
        """Write what answers a prompt of ours."""
        if self._own:
            self._out.data(delta, end="")
            self._open_line = not delta.endswith("\n")

    def thought(self, delta: str) -> None:
        """A program that reads an answer wants no thoughts."""

    def tool(self, tool: Tool, *, new: bool) -> None:
        """One line when it begins, one when it ends."""
        mark = self._out.glyph(*TOOL_MARKS.get(tool.status, TOOL_MARKS["in_progress"]), error=True)
        if new or tool.over:
            self._out.note(f"{mark} {tool.title}")

    def plan(self, entries: list[tuple[str, str]]) -> None:
        """The checklist, and afterwards what has changed in it."""
        for line, _ in plan_lines([entry for entry in entries if entry not in self._plan], self._out, error=True):
            self._out.note(line)
        self._plan = entries

    def asked(self, ask: Ask) -> None:
        """Refuse, and say so; without a way to refuse, the turn is cancelled."""
        if self.talk is None:
            return
        if (option := ask.rejection) is not None:
            self._out.note(f"permission refused, there is no terminal to ask at: {ask.title} ({option.name})")
            self.talk.permit(ask, option)
        else:
            self._out.note(f"turn cancelled, there is no terminal to ask at and no option that refuses: {ask.title}")
            self.talk.cancel()

    def ask_ended(self, ask: Ask, outcome: str) -> None:
        """It was said already."""

    def notice(self, text: str) -> None:
        """Say it."""
        self._out.note(text)

    def turn_ended(self, stop_reason: str, error: str, *, own: bool) -> None:
        """End the line; say where the turn did not end well."""
        if self._open_line:
            self._out.data("")
            self._open_line = False
        if words := stop_words(stop_reason, error):
            self._out.note(words)
        if own and stop_reason in _FAILED_STOPS:
            self.status = FAILED
        self._own = False

    def queued(self, position: int) -> None:
        """Say it."""
        self._out.note(f"queued: {position} before it")

    def refused(self, method: str, failure: Failure) -> None:
        """A prompt that is not taken ends the chat; anything else is only told."""
        if method == "chat.send":
            raise failure
        self._out.note(failure.message)

    def told(self, text: str) -> None:
        """Say it."""
        self._out.note(text)


class _Interrupts:
    """Ctrl-C wakes a wait and nothing else, so that no message is lost half-way."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        del number, frame
        self.count += 1
        if self._waiting:
            raise KeyboardInterrupt

    def wait(self, files: list[int], seconds: float | None) -> list[int]:
        """Those of ``files`` that can be read; empty after a Ctrl-C too."""
        if self.count:
            seconds = 0
        self._waiting = True
        try:
            return select.select(files, [], [], seconds)[0]
        except KeyboardInterrupt:
            return []
        finally:
            self._waiting = False


def converse(connection: Connection, talk: Talk, face: PlainFace, out: Output) -> int:
    """Take prompts from stdin until it ends, and wait for the last turn; the exit status."""
    face.talk = talk
    interrupts = _Interrupts()
    before = signal.signal(signal.SIGINT, interrupts)
    try:
        return _converse(connection, talk, face, out, interrupts)
    finally:
        signal.signal(signal.SIGINT, before)


def _converse(connection: Connection, talk: Talk, face: PlainFace, out: Output, interrupts: _Interrupts) -> int:
    lines = _Lines()
    cancelled = False
    while not out.reader_gone:
        talk.taking(connection.arrived(0))
        talk.late()
        if not talk.busy:
            cancelled = False
        if not talk.waits:
            if (line := lines.next()) is not None:
                if not _said(line, talk, out):
                    break
                continue
            if lines.ended:
                break
        wanted = [connection.fileno()] if talk.waits or lines.ended else [connection.fileno(), _STDIN]
        ready = interrupts.wait(wanted, talk.patience())
        if interrupts.count:
            interrupts.count = 0
            if cancelled or not talk.busy:
                raise KeyboardInterrupt
            cancelled = True
            out.note("cancelling the turn; Ctrl-C again leaves")
            talk.cancel()
        elif _STDIN in ready:
            lines.read()
    talk.leave()
    return face.status


def _said(line: str, talk: Talk, out: Output) -> bool:
    """Do what a line says; whether the chat goes on."""
    match command(line):
        case "quit":
            return False
        case "help":
            for text in help_lines():
                out.note(text)
        case "cancel":
            talk.cancel()
        case "status":

            def show(row: Message) -> None:
                for text in status_lines(row, out):
                    out.note(text)

            talk.status(show)
        case _ if line.strip():
            talk.say(line)
    return True


class _Lines:
    """The lines of stdin, as they come."""

    def __init__(self) -> None:
        self.ended = False
        self._buffer = b""

    def read(self) -> None:
        data = os.read(_STDIN, _READ)
        self._buffer += data
        self.ended = not data

    def next(self) -> str | None:
        """The next line; at the end of stdin, one without a newline counts."""
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline and not (self.ended and line):
            return None
        self._buffer = rest
        return line.decode("utf-8", errors="replace").rstrip("\r")
