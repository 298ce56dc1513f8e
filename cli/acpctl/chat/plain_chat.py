"""The chat without a terminal: each line of stdin is a prompt, one turn after the other; stdout gets the answers."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING, Final

from acpctl.chat.chat_client import ChatClient
from acpctl.chat.chat_text import HELP_LINES, Command, parse_command, plan_lines, status_lines, stop_text, tool_mark
from acpctl.chat.questions import Answer
from acpctl.exit_codes import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from acpctl.chat.chat_view import PermissionRequest, ToolCall
    from acpctl.chat.questions import Question
    from acpctl.client import DaemonConnection
    from acpctl.errors import CliError
    from acpctl.options import GlobalOptions
    from acpctl.render.output import Output

_STDIN: Final = 0
_CHUNK: Final = 65_536  # bytes read at once
_FAILED_STOP_REASONS: Final = frozenset({"error", "cancelled"})


class PlainView:
    """Writes the agent's text to stdout and the rest to stderr. Rejects every permission and declines every question.

    Nobody can answer them.
    """

    def __init__(self, out: Output) -> None:
        self.client: ChatClient | None = None
        self.status = DONE
        self._out = out
        self._own = False
        self._open_line = False  # stdout is in the middle of a line
        self._plan: list[tuple[str, str]] = []
        self._failure = ""  # why the last turn failed, until it is known whether a notice says it better

    def turn_started(self, prompt: str, *, own: bool) -> None:
        """Show somebody else's prompt on stderr; stdout gets no answer to it."""
        self.finish()
        self._own = own
        self._plan = []
        if not own:
            self._out.note(f"« {prompt}")

    def text(self, delta: str) -> None:
        """Write the answer to a prompt of ours."""
        if self._own:
            self._out.data(delta, end="")
            self._open_line = not delta.endswith("\n")

    def thought(self, delta: str) -> None:
        """Leave it out: who reads stdout wants the answer."""

    def tool_call(self, call: ToolCall, *, new: bool) -> None:
        """Write a line when it begins and one when it ends."""
        if new or call.ended:
            self._out.note(f"{tool_mark(call, self._out.err)} {call.title}")

    def plan(self, entries: list[tuple[str, str]]) -> None:
        """Write the entries that have changed."""
        for line, _ in plan_lines([entry for entry in entries if entry not in self._plan], self._out.err):
            self._out.note(line)
        self._plan = entries

    def permission_requested(self, request: PermissionRequest) -> None:
        """Reject it, and say so; cancel the turn where no option rejects."""
        if self.client is None:
            return
        if (option := request.rejection) is not None:
            self._show(request)
            self._out.note(f"permission refused, there is no terminal to ask on: {request.summary} ({option.label})")
            self.client.answer_permission(request, option)
        else:
            reason = "there is no terminal to ask on and no option that refuses"
            self._show(request)
            self._out.note(f"turn cancelled, {reason}: {request.summary}")
            self.client.cancel()

    def _show(self, request: PermissionRequest) -> None:
        """Write what the agent wants to do, where it is more than the line that follows says."""
        if "\n" in request.action or request.withheld:
            for line in request.lines():
                self._out.note(line)

    def permission_ended(self, request: PermissionRequest, outcome: str, reason: str) -> None:
        """Nothing: :meth:`permission_requested` has said it."""

    def question_asked(self, question: Question) -> None:
        """Decline it, and say so."""
        if self.client is not None:
            self._out.note(f"question declined, there is no terminal to ask on: {question.summary}")
            self.client.answer_question(question, Answer("decline"))

    def question_ended(self, question: Question, outcome: str) -> None:
        """Nothing: :meth:`question_asked` has said it."""

    def notice(self, text: str) -> None:
        """Write it to stderr. A crash ends a turn and then the session: the session's end says both."""
        if "agent" in text.casefold():
            self._failure = ""
        self.finish()
        self._out.note(text)

    def finish(self) -> None:
        """Write why the last turn failed, where nothing else has said it."""
        if self._failure:
            self._out.note(self._failure)
            self._failure = ""

    def turn_ended(self, stop_reason: str, error: str, *, own: bool) -> None:
        """End the line on stdout; say why the turn ended unusually, and fail with it."""
        if self._open_line:
            self._out.data("")
            self._open_line = False
        reason = stop_text(stop_reason, error)
        if stop_reason == "error":
            self._failure = reason
        elif reason:
            self._out.note(reason)
        if own and stop_reason in _FAILED_STOP_REASONS:
            self.status = FAILED
        self._own = False

    def queued(self, position: int) -> None:
        """Write it to stderr."""
        self._out.note(f"queued, {position} ahead")

    def request_failed(self, method: str, error: CliError) -> None:
        """End the chat where the daemon refuses a prompt; else write the error to stderr."""
        if method == "chat.send":
            raise error
        if method == "chat.command":
            self.status = FAILED
        self._out.note(error.message)

    def hint(self, text: str) -> None:
        """Write it to stderr."""
        self._out.note(text)


class _Interrupts:
    """A handler of SIGINT that ends :meth:`wait` and nothing else, so that no message is cut in two."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        del number, frame
        self.count += 1
        if self._waiting:
            raise KeyboardInterrupt

    def wait(self, files: list[int], seconds: float | None) -> list[int]:
        """Those of ``files`` that are readable, within ``seconds``; empty after Ctrl-C."""
        if self.count:
            seconds = 0
        self._waiting = True
        try:
            return select.select(files, [], [], seconds)[0]
        except KeyboardInterrupt:
            return []
        finally:
            self._waiting = False


class _StdinLines:
    """The lines of stdin, as they come."""

    def __init__(self) -> None:
        self.ended = False
        self._buffer = b""

    def read(self) -> None:
        data = os.read(_STDIN, _CHUNK)
        self._buffer += data
        self.ended = not data

    def has_text(self) -> bool:
        """Whether anything but blank lines has come."""
        return bool(self._buffer.strip())

    def next(self) -> str | None:
        """The next line, if there is one; the last one needs no newline."""
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline and not (self.ended and line):
            return None
        self._buffer = rest
        return line.decode("utf-8", errors="replace").rstrip("\r")


def run_plain_chat(
    options: GlobalOptions, connection: DaemonConnection, thread: str, agent: str | None, resume: str | None
) -> int:
    """Send the lines of stdin, wait for the end of the last turn, and return the exit code."""
    view = PlainView(options.out)
    client = ChatClient(connection, thread, view, timeout=options.timeout)
    view.client = client
    options.out.note(f"thread {thread}")
    lines = _StdinLines()
    if resume is None and not _has_prompt(connection, lines):
        options.out.note("it was not opened, and nothing was sent: stdin is empty")
        return DONE
    client.open(agent, resume)
    interrupts = _Interrupts()
    before = signal.signal(signal.SIGINT, interrupts)
    try:
        _converse(connection, client, lines, options.out, interrupts)
    finally:
        signal.signal(signal.SIGINT, before)
        view.finish()
    return view.status


def _has_prompt(connection: DaemonConnection, lines: _StdinLines) -> bool:
    """Wait for the first text on stdin; whether there is any. Raises ``CliError`` where the daemon goes meanwhile."""
    while not lines.ended and not lines.has_text():
        if _STDIN in select.select([connection.fileno(), _STDIN], [], [])[0]:
            lines.read()
        else:
            connection.receive(0)
    return lines.has_text()


def _converse(
    connection: DaemonConnection, client: ChatClient, lines: _StdinLines, out: Output, interrupts: _Interrupts
) -> None:
    cancelled = False
    while not out.reader_gone:
        client.handle(connection.receive(0))
        client.check_timeouts()
        if not client.busy:
            cancelled = False
        if not client.waiting:
            if (line := lines.next()) is not None:
                if not _handle_line(line, client, out):
                    break
                continue
            if lines.ended:
                break
        readable = [connection.fileno()] if client.waiting or lines.ended else [connection.fileno(), _STDIN]
        ready = interrupts.wait(readable, client.seconds_until_due())
        if interrupts.count:
            interrupts.count = 0
            if cancelled or not client.busy:
                raise KeyboardInterrupt
            cancelled = True
            out.note("cancelling the turn; Ctrl-C again leaves")
            client.cancel()
        elif _STDIN in ready:
            lines.read()
    client.leave()


def _handle_line(line: str, client: ChatClient, out: Output) -> bool:
    """Send a prompt or run a command; whether the chat goes on."""

    def note(lines: Sequence[str]) -> None:
        for text in lines:
            out.note(text)

    match parse_command(line):
        case Command(name, value, is_daemons=True):
            client.run_command(name, value, note)
        case Command("quit"):
            return False
        case Command("help"):
            note(HELP_LINES)
        case Command("cancel"):
            client.cancel()
        case Command("now", text):
            client.send_now(text, note)
        case Command("status"):
            client.fetch_status(lambda row: note(status_lines(row, out)))
        case _ if line.strip():
            client.send_prompt(line)
    return True
