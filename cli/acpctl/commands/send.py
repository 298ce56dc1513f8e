"""`acpctl send`: one prompt into any thread; with --wait its answer on stdout."""

import json
import select
import sys
import time
from typing import Annotated, Any, Final

import typer

from acpctl.chat.chat_text import stop_text
from acpctl.client import REQUEST_LIMIT, DaemonConnection, Message, objects
from acpctl.errors import CliError, DaemonError
from acpctl.exit_codes import DONE, FAILED, INTERRUPTED, TIMED_OUT, USAGE
from acpctl.options import GlobalOptions, OutputFormat, global_options
from acpctl.quantities import whole_number
from acpctl.render.output import Output
from acpctl.terminal.permission_prompt import PermissionPrompt
from acpctl.text import clean, clean_lines
from acpctl.thread_completion import complete_agent, complete_thread
from acpctl.thread_refs import parse_thread

EPILOG = (
    "Without TEXT, or with -, all of stdin is the prompt. On a terminal --wait asks you for the answer to a permission "
    "request. Where nobody can read stderr on a terminal, it gives a person as long as --timeout to answer such a "
    "request, or a question of the agent; then it exits with 7, and the turn goes on."
)

_MAX_PROMPT: Final = REQUEST_LIMIT - 1024  # bytes as JSON; the rest of the request has the other parameters

_LOOK_SECONDS: Final = 1.0  # after so long we look again whether stdout still has a reader

_FAILED: Final = frozenset({"error", "cancelled", "kept"})
_ENDED: Final = frozenset({"completed", "failed"})

Event = dict[str, Any]


def run(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="THREAD [TEXT|-]",
            help="The thread, as in `acpctl show`, and the prompt; with --channel the prompt only.",
            autocompletion=complete_thread,
            show_default=False,
        ),
    ] = None,
    *,
    channel: Annotated[
        str | None, typer.Option(metavar="ID", help="Start a thread in this Discord channel instead.")
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The agent, if this prompt starts a conversation.", autocompletion=complete_agent
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Print the answer, and return when it is complete.")] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Cancel the running turn, and go before messages that wait.")
    ] = False,
    allow: Annotated[
        bool, typer.Option("--allow", help="Allow what this turn asks permission for; implies --wait.")
    ] = False,
    output: OutputFormat = "table",
) -> int:
    """Send a prompt into any thread.

    The thread shows that an admin sent it, with the answer below.
    """
    given = list(words or [])
    target = _target(given, channel)
    if len(given) > 1:
        raise CliError("cannot send more than one text: put the prompt in quotes", USAGE)
    options = global_options(context)
    with options.connect(streams=True) as connection:
        connection.require("sessions.send", "send")
        connection.require_admin("send")
        params: dict[str, Any] = {**target, "text": _prompt(given[0] if given else "-", options.out)}
        if agent is not None:
            params["agent"] = agent
        if now:
            params["now"] = True
        connection.reset_deadline()  # reading stdin may have taken any time
        answer = connection.call("sessions.send", params)
        if wait or allow:
            return _wait(options, connection, answer, allow=allow, output=output)
    if output == "json":
        options.out.json(answer)
    else:
        options.out.data(f"{clean(answer.get('thread_id'))}  {_position(answer)}")
    return DONE


def _target(given: list[str], channel: str | None) -> dict[str, str]:
    """Where the prompt goes; takes the thread out of ``given``."""
    if channel is not None:
        return {"channel": parse_thread(channel).thread}
    if not given:
        raise CliError("cannot send: give a THREAD, or --channel ID; see `acpctl send --help`", USAGE)
    return {"thread": parse_thread(given.pop(0)).thread}


def _prompt(text: str, out: Output) -> str:
    """The text, or all of stdin."""
    if text == "-":
        if sys.stdin is None:
            raise CliError("cannot read the prompt: stdin is closed; give it as TEXT", USAGE)
        if sys.stdin.isatty():
            out.note("type the prompt, then Ctrl-D", "dim")
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError:
            raise CliError("cannot send stdin: it is not UTF-8", USAGE) from None
        except OSError as error:
            raise CliError(f"cannot read the prompt from stdin: {error.strerror or error}", USAGE) from None
    text = text.rstrip("\r\n")
    if not text.strip():
        raise CliError("cannot send an empty prompt: give TEXT, or write it to stdin", USAGE)
    if (size := len(json.dumps(text))) > _MAX_PROMPT:
        advice = "put the text into a file that the agent can read, and name the file"
        raise CliError(f"cannot send a prompt of {size:,} bytes: {_MAX_PROMPT:,} fit; {advice}")
    return text


def _position(answer: Event) -> str:
    queued = whole_number(answer.get("queued"))
    return f"queued, {queued} ahead" if queued else "sent"


def _wait(options: GlobalOptions, connection: DaemonConnection, answer: Event, *, allow: bool, output: str) -> int:
    """Print the turn until it ends; the exit code."""
    out, thread = options.out, clean(answer.get("thread_id"))
    if whole_number(answer.get("queued")) or output != "json":
        out.note(f"{thread}  {_position(answer)}", "dim")
    turn = _Turn(connection, out, thread, allow=allow, streams=output != "json")
    try:
        while turn.end is None and not out.reader_gone:
            for message in turn.next_messages(_seconds_left(turn, options)):
                event = message.get("params")
                if message.get("method") == "chat.event" and isinstance(event, dict):
                    turn.handle(event)
    except KeyboardInterrupt:
        out.note(f"the turn goes on; `acpctl cancel {thread}` stops it")
        return INTERRUPTED
    if turn.end is None:
        return DONE
    if output == "json":
        out.json({**answer, **{key: turn.end.get(key) for key in ("stop_reason", "text", "error")}})
    elif reason := stop_text(clean(turn.end.get("stop_reason")), clean_lines(turn.end.get("error") or "")):
        out.note(reason)
    return FAILED if turn.end.get("stop_reason") in _FAILED else DONE


def _seconds_left(turn: "_Turn", options: GlobalOptions) -> float | None:
    """For how long a person may still think about what the agent asks; ``None``: there is no limit.

    Raises ``CliError`` (exit 7) once that is over. On a terminal a person sees the question, and Ctrl-C leaves.
    """
    if not turn.open_requests or options.out.err.terminal:
        return None
    left = turn.asked_at + options.timeout - time.monotonic()
    if left > 0:
        return left
    thread, what = turn.thread, next(iter(turn.open_requests.values()))
    raise CliError(
        f"cannot wait any longer: nobody has answered {what} within {options.timeout:g} s; the turn goes on; answer it "
        f"with `acpctl permit {thread}` or in the thread, send with --allow, or wait longer with --timeout",
        TIMED_OUT,
    )


class _Turn:
    """The turn of our prompt: its text goes to stdout where ``streams``, all else to stderr."""

    def __init__(self, connection: DaemonConnection, out: Output, thread: str, *, allow: bool, streams: bool) -> None:
        self.end: Event | None = None
        self._connection = connection
        self._out = out
        self.thread = thread
        self.open_requests: dict[str, str] = {}
        """By id: what waits for a person."""
        self.asked_at = 0.0
        """When the first of them came, in monotonic seconds."""
        self._allow = allow
        asks = not allow and out.err.terminal and sys.stdin is not None and sys.stdin.isatty()
        self._prompt = PermissionPrompt(out) if asks else None
        self._streams = streams
        self._text = ""
        self._printed = 0  # characters of the text
        self._open_line = False  # stdout is in the middle of a line
        self._tools: dict[str, tuple[str, str]] = {}  # by id: the title, and the status
        self._asked: set[str] = set()

    def handle(self, event: Event) -> None:
        """Show one ``chat.event``; the daemon sends the turn anew where we have missed something of it."""
        match event.get("type"):
            case "turn_start":
                self._text = ""
            case "text":
                self._text += clean_lines(event.get("text"))
                self._print(self._text)
            case "tool":
                self._tool(event)
            case "permission":
                self._permission(event)
            case "permission_end" | "question_end":
                request = clean(event.get("request"))
                self.open_requests.pop(request, None)
                if self._prompt is not None:
                    self._prompt.end(request)
            case "question":
                self._note_break()
                asked = clean(event.get("message"))
                self._wait_for_person(clean(event.get("request")), f"the agent's question: {asked}")
                self._out.note(f"the agent asks: {asked}; answer it in the thread", "yellow")
            case "notice":
                self._note_break()
                self._out.note(clean(event.get("text")))
            case "turn_end":
                self.end = event
                self._finish(clean_lines(event.get("text")))

    def _print(self, text: str) -> None:
        if self._streams and len(text) > self._printed:
            self._out.data(text[self._printed :], end="")
            self._open_line = not text.endswith("\n")
            self._printed = len(text)

    def _finish(self, text: str) -> None:
        if not self._printed:  # else it is the same, as it came
            self._print(text)
        self._note_break()

    def _note_break(self) -> None:
        """End the line that stdout is in."""
        if self._open_line:
            self._out.data("")
            self._open_line = False

    def _tool(self, event: Event) -> None:
        call, status = clean(event.get("tool_call_id")), clean(event.get("status") or "")
        known, before = self._tools.get(call, ("", None))
        title = clean(event.get("title") or "") or known or "a tool"
        if before is None or (status in _ENDED and before != status):
            self._note_break()
            self._out.note(f"tool: {title}{f', {status}' if status in _ENDED else ''}", "dim")
        self._tools[call] = (title, status)

    def _wait_for_person(self, request: str, what: str) -> None:
        if not self.open_requests:
            self.asked_at = time.monotonic()
        self.open_requests[request] = what

    def _permission(self, event: Event) -> None:
        request = clean(event.get("request"))
        if request in self._asked:
            return
        self._asked.add(request)
        self._note_break()
        what = clean(event.get("action") or event.get("title"))
        if not self._allow:
            self._wait_for_person(request, f"the permission request: {what}")
            self._out.note(f"permission needed: {what}; answer it with `acpctl permit {self.thread}`", "yellow")
            if self._prompt is not None:
                if withheld := clean(event.get("withheld")):
                    self._out.note(f"it can't be allowed: {withheld}")
                self._prompt.add(request, objects(event.get("options")))
            return
        options = {clean(one.get("kind")): one for one in reversed(objects(event.get("options")))}
        allowed = options.get("allow_once") or options.get("allow_always")
        chosen = allowed or options.get("reject_once") or options.get("reject_always")
        if chosen is None:
            self._wait_for_person(request, f"the permission request: {what}")
            self._out.note(f"permission needed, and there is no answer to give: {what}", "yellow")
            return
        why = "" if allowed else f": {clean(event.get('withheld')) or 'the agent offers no way to allow it'}"
        self._out.note(f"{'allowed' if allowed else 'rejected'}: {what}{why}", "yellow")
        self._answer(event.get("request"), chosen)

    def next_messages(self, seconds: float | None) -> list[Message]:
        """What comes within ``seconds`` (``None``: for ever); meanwhile the user may answer what is asked."""
        if self._prompt is None or not self._prompt.asks:
            return self._connection.receive(seconds)
        if messages := self._connection.receive(0):
            return messages
        ready, _, _ = select.select([self._connection, sys.stdin], [], [], _LOOK_SECONDS)
        if sys.stdin in ready and (answer := self._prompt.typed(sys.stdin.readline())):
            self._answer(*answer)
        return []

    def _answer(self, request: object, chosen: Event) -> None:
        try:
            self._connection.reset_deadline()
            answer = {"thread": self.thread, "request": request, "option": chosen.get("option_id")}
            self._connection.call("sessions.permit", answer)
        except DaemonError as error:
            self._out.note(error.message)
