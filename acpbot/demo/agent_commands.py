"""The commands of the demo agent, and how it parses a prompt.

A prompt is one command or several, separated by line breaks, ``;`` or ``then``. An argument in double quotes is a JSON
string and may contain any separator. Text that is not a command is echoed.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading

from acpbot.demo.agent_session import MODELS, MODES
from acpbot.demo.agent_turn import Failed, Stop

TYPE_CHECKING = False  # typing costs a fifth of the start-up
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from acpbot.demo.agent_turn import DemoTurn

    Action = Callable[..., None]

_SEPARATOR = re.compile(r"[;\n]|(?<!\S)then(?!\S)")
_QUOTED = re.compile(r"\s*(/?[A-Za-z]+\s+)(?=\")")
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_DECODER = json.JSONDecoder()
_BATCH_BYTES = 65_536
_LINGER_SECONDS = "300"
_FORK_MAX = 500


class Command:
    """One command. ``numbers``: how many it takes (least, most); ``text``: whether it takes a text, and needs one."""

    def __init__(self, action: Action, hint: str, numbers: tuple[int, int], text: tuple[bool, bool]) -> None:
        self.action = action
        self.name = action.__name__.strip("_")
        self.hint = hint
        self.description = (action.__doc__ or "").rstrip(".")
        self._numbers = numbers
        self._text, self._text_needed = text

    def arguments(self, rest: str) -> list[str] | None:
        """The arguments in ``rest``, or ``None`` where they do not fit: then the prompt is a sentence to echo."""
        if self._text:
            return [rest] if rest or not self._text_needed else None
        numbers = rest.split()
        least, most = self._numbers
        fits = least <= len(numbers) <= most and all(_NUMBER.fullmatch(number) for number in numbers)
        return numbers if fits else None


COMMANDS: dict[str, Command] = {}


def _command(hint: str = "", *, numbers: tuple[int, int] = (0, 0)) -> Callable[[Action], Action]:
    """Register a function as a command. Its docstring is the help; with a hint but no ``numbers`` it takes a text."""

    def register(action: Action) -> Action:
        command = Command(action, hint, numbers, (bool(hint) and numbers == (0, 0), not hint.startswith("[")))
        COMMANDS[command.name] = command
        return action

    return register


def parse(prompt: str) -> list[tuple[Command | None, list[str]]]:
    """Parse a prompt: commands with their arguments, and ``(None, [text])`` for each other text, in order."""
    parsed: list[tuple[Command | None, list[str]]] = []
    echo_from = -1
    at = 0
    while at <= len(prompt):
        command, arguments, end, following = _segment(prompt, at)
        if command is not None:
            parsed.append((command, arguments))
            echo_from = -1
        elif prompt[at:end].strip():
            if echo_from >= 0:
                parsed.pop()
            else:
                echo_from = at
            parsed.append((None, [prompt[echo_from:end].strip()]))
        at = following
    return parsed


def _segment(prompt: str, at: int) -> tuple[Command | None, list[str], int, int]:
    """The command at ``at`` with its arguments, where it ends, and where the next one begins."""
    quoted = _QUOTED.match(prompt, at)
    if quoted is not None and (command := COMMANDS.get(quoted[1].strip().lstrip("/").lower())) is not None:
        try:
            text, end = _DECODER.raw_decode(prompt, quoted.end())
        except ValueError:
            end = -1
        separator = _SEPARATOR.search(prompt, end) if end >= 0 else None
        following = separator.end() if separator else len(prompt) + 1
        if end >= 0 and not prompt[end : separator.start() if separator else None].strip():
            arguments = command.arguments(text)
            if arguments is not None:
                return command, arguments, end, following
    separator = _SEPARATOR.search(prompt, at)
    end = separator.start() if separator else len(prompt)
    following = separator.end() if separator else len(prompt) + 1
    name, _, rest = prompt[at:end].strip().partition(" ")
    found = COMMANDS.get(name.removeprefix("/").lower())
    arguments = found.arguments(rest.strip()) if found else None
    return (found, arguments, end, following) if arguments is not None else (None, [], end, following)


def perform(turn: DemoTurn) -> None:
    """Run the commands of the prompt. Raises Cancelled, Stop, Failed."""
    text = prompt_text(turn.blocks)
    if not text.strip():
        what(turn)
    for command, arguments in parse(text):
        if command is None:
            _echo(turn, *arguments)
        else:
            command.action(turn, *arguments)


def prompt_text(blocks: list[dict[str, Any]]) -> str:
    """What the person wrote: the last text block; clients put context before it."""
    texts = [block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)]
    return texts[-1] if texts else ""


def available_commands() -> list[dict[str, Any]]:
    """All commands as slash commands (ACP, AvailableCommand)."""
    return [
        {
            "name": command.name,
            "description": command.description,
            **({"input": {"hint": command.hint}} if command.hint else {}),
        }
        for command in COMMANDS.values()
    ]


def _echo(turn: DemoTurn, text: str) -> None:
    if turn.session.effort == "high":
        turn.chunks(["I have no model, ", "so this is all I think."], "agent_thought_chunk")
    said = text.upper() if turn.session.model == "shout" else text
    turn.line(f"I'm the demo agent, and I have no model. You said: {said}\nSay `help` to see what I can do.")


@_command()
def _help(turn: DemoTurn) -> None:
    """Lists all commands."""
    lines = [f"- `{f'{item.name} {item.hint}'.strip()}`: {item.description}\n" for item in COMMANDS.values()]
    turn.line("I'm the demo agent, and I have no model. These are my commands:\n")
    turn.chunks(lines)
    turn.stream("Separate several with line breaks, `;` or `then`. An argument in double quotes is a JSON string.")


_DOCUMENT = (
    *("## A part\n", "\n", "Streamed ", "in small ", "pieces, ", "by an agent ", "**without a model**.\n", "\n"),
    *("- first\n", "- second\n", "- third, ", "with `code`\n", "\n", "```python\n", "for i in range(3):\n"),
    *("    print", "(i)\n", "```\n", "\n", "> the end of this part\n\n"),
)
_FENCE = range(_DOCUMENT.index("```python\n"), _DOCUMENT.index("```\n"))


@_command("[N]", numbers=(0, 1))
def stream(turn: DemoTurn, count: str = "40") -> None:
    """Streams N small chunks of markdown (40)."""
    pieces = [_DOCUMENT[number % len(_DOCUMENT)] for number in range(int(float(count)))]
    if pieces and (len(pieces) - 1) % len(_DOCUMENT) in _FENCE:
        pieces[-1] = "\n```\n"
    turn.chunks(pieces)


@_command("N [SIZE]", numbers=(1, 2))
def blast(turn: DemoTurn, count: str, size: str = "10") -> None:
    """Sends N numbered chunks of SIZE characters (10) as fast as it can."""
    width = max(int(float(size)) - 1, 0)
    params = {"sessionId": turn.session.session_id, "update": {"sessionUpdate": "agent_message_chunk"}}
    opening = json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params})[: -len("}}}")]
    head = f'{opening}, "content": {{"type": "text", "text": "'
    tail = '\\n"}}}}\n'  # digits and dots need no escaping; json.dumps for each would halve the rate
    batch = max(1, _BATCH_BYTES // (len(head) + len(tail) + width))
    total = int(float(count))
    for first in range(0, total, batch):
        turn.check()
        numbers = range(first, min(first + batch, total))
        turn.host.write("".join([f"{head}{str(n).ljust(width, '.')}{tail}" for n in numbers]).encode())
    turn.said.append(f"({total} chunks)\n")


@_command("N", numbers=(1, 1))
def long(turn: DemoTurn, count: str) -> None:
    """Answers exactly N characters, in chunks of ten."""
    total = int(float(count))
    for first in range(0, total, 10):
        size = min(10, total - first)
        turn.chunk(f"{first:09d}\n"[-10:][:size])


@_command("TEXT")
def say(turn: DemoTurn, text: str) -> None:
    """Streams exactly TEXT."""
    turn.stream(text)


@_command()
def think(turn: DemoTurn) -> None:
    """Sends thought chunks."""
    turn.chunks(["I would think ", "about this, ", "but there is ", "no model here."], "agent_thought_chunk")
    turn.line("I sent a few thoughts. There is no model behind them.")


@_command("[COMMAND]")
def tool(turn: DemoTurn, command: str = "") -> None:
    """Asks for permission, then runs COMMAND with sh (echo)."""
    command = command or "echo hello from a real subprocess"
    call = turn.tool(command, "execute", rawInput={"command": command})
    if turn.session.mode == "ask":
        chosen = turn.ask(call, command)
        if chosen not in {"allow_once", "allow_always"}:
            turn.update("tool_call_update", toolCallId=call, status="failed")
            turn.line("You didn't allow it, so nothing was run.")
            return
    turn.run(call, ["sh", "-c", command])


@_command("N", numbers=(1, 1))
def sleep(turn: DemoTurn, seconds: str) -> None:
    """Runs `sleep N` as a tool, without asking."""
    turn.run(turn.tool(f"sleep {seconds}", "execute", rawInput={"command": f"sleep {seconds}"}), ["sleep", seconds])


@_command()
def edit(turn: DemoTurn) -> None:
    """Shows a diff; nothing is written."""
    path = os.path.join(turn.session.cwd, "greeting.txt")  # noqa: PTH118 - pathlib costs start-up time
    call = turn.tool("Show a diff of greeting.txt (nothing is written)", "edit", locations=[{"path": path}])
    diff = {"type": "diff", "path": path, "oldText": "hello\nworld\n", "newText": "hello\neverybody\n"}
    turn.update("tool_call_update", toolCallId=call, status="completed", content=[diff])
    turn.line("I showed a diff; nothing was written.")


@_command()
def plan(turn: DemoTurn) -> None:
    """Shows a plan of three entries that get done."""
    steps = ("Read the request", "Pretend to work", "Say so")
    for done in range(len(steps) + 1):
        status = ["completed"] * done + ["in_progress"] + ["pending"] * len(steps)
        entries = [
            {"content": step, "priority": "medium", "status": state} for step, state in zip(steps, status, strict=False)
        ]
        turn.update("plan", entries=entries)
        turn.pause(turn.host.pace)
    turn.line("I showed a plan; nothing was done.")


@_command()
def hang(turn: DemoTurn) -> None:
    """Stops answering for ever, any request and cancel too."""
    turn.host.silent = True
    threading.Event().wait()


@_command("N", numbers=(1, 1))
def stall(turn: DemoTurn, seconds: str) -> None:
    """Is silent for N seconds, then goes on."""
    turn.pause(float(seconds))


@_command("[N]", numbers=(0, 1))
def stderr(turn: DemoTurn, count: str = "20") -> None:
    """Writes N lines (20) with colours on stderr."""
    lines = [f"\x1b[3{1 + number % 6}mdemo agent: line {number + 1}\x1b[0m\n" for number in range(int(float(count)))]
    sys.stderr.write("".join(lines))
    sys.stderr.flush()
    turn.line(f"I wrote {len(lines)} lines on stderr.")


def _unkillable(turn: DemoTurn, seconds: str) -> str:
    """Start a `sleep` that ignores SIGTERM, in a session of its own and reparented; return its pid.

    An ignored signal stays ignored across execve(2).
    """
    command = f"trap '' TERM; sleep {float(seconds):g} >/dev/null 2>&1 & echo $!"
    child = turn.host.children.start(["sh", "-c", command], turn.session.cwd)
    return child.communicate()[0].decode().strip()


@_command("[N]", numbers=(0, 1))
def orphan(turn: DemoTurn, seconds: str = _LINGER_SECONDS) -> None:
    """Leaves a `sleep N` (300) behind that survives this agent and ignores SIGTERM."""
    turn.line(f"The orphan's pid is {_unkillable(turn, seconds)}.")


@_command("N [SECONDS]", numbers=(1, 2))
def fork(turn: DemoTurn, count: str, seconds: str = _LINGER_SECONDS) -> None:
    """Starts N sleepers (of 300 s), each in a session of its own; they end with the agent."""
    wanted = min(int(float(count)), _FORK_MAX)
    pids = [str(turn.start(["sleep", seconds], background=True).pid) for _ in range(wanted)]
    turn.line(f"I started {len(pids)} sleepers: {' '.join(pids)}")


@_command()
def ignore(turn: DemoTurn) -> None:
    """Ignores SIGTERM, the end of stdin and cancels from now on, and has a child that does."""
    turn.host.ignoring = True
    turn.line(f"From now on I ignore SIGTERM, cancels and the end of stdin, as does pid {_unkillable(turn, '300')}.")


@_command("[CODE]", numbers=(0, 1))
def crash(turn: DemoTurn, code: str = "1") -> None:
    """Exits at once with CODE (1), in the middle of a line."""
    turn.host.write(b'{"jsonrpc":"2.0","method":"session/upd')
    os._exit(int(float(code)) & 0xFF)


@_command()
def _exit(turn: DemoTurn) -> None:
    """Exits with status 0, without an answer."""
    turn.host.leave(0)


@_command()
def error(_turn: DemoTurn) -> None:
    """Answers the prompt with an error."""
    raise Failed("cannot answer: this is the error that you asked for")


@_command()
def refuse(_turn: DemoTurn) -> None:
    """Ends the turn with the stop reason refusal."""
    raise Stop("refusal")


@_command()
def _max(_turn: DemoTurn) -> None:
    """Ends the turn with the stop reason max_tokens."""
    raise Stop("max_tokens")


@_command()
def _commands(turn: DemoTurn) -> None:
    """Sends the list of commands again."""
    turn.update("available_commands_update", availableCommands=available_commands())


@_command("NAME")
def mode(turn: DemoTurn, name: str) -> None:
    """Changes the mode, to ask or auto."""
    if name not in MODES:
        turn.line(f"I have no mode {name!r}. Available: {', '.join(MODES)}.")
        return
    turn.session.mode = name
    turn.update("current_mode_update", currentModeId=name)


@_command("NAME")
def model(turn: DemoTurn, name: str) -> None:
    """Changes how the echo is written, to plain or shout."""
    if name not in MODELS:
        turn.line(f"I have no model called {name!r}. Available: {', '.join(MODELS)}.")
        return
    turn.session.model = name
    options = turn.session.config_options(boolean=turn.host.boolean)
    turn.update("config_option_update", configOptions=options)


@_command("TEXT")
def title(turn: DemoTurn, text: str) -> None:
    """Changes the session's title."""
    turn.session.title = text
    turn.update("session_info_update", title=text, updatedAt=turn.session.updated_at)


def _describe(block: dict[str, Any]) -> str:
    kind = block.get("type")
    resource = block.get("resource")
    if kind == "text":
        return f"text, {len(block.get('text', ''))} characters"
    if kind in {"image", "audio"}:
        return f"{kind}, {block.get('mimeType')}, {len(block.get('data', '')) * 3 // 4} bytes"
    if kind == "resource" and isinstance(resource, dict):
        size = len(str(resource.get("text") or resource.get("blob") or ""))
        return f"resource {resource.get('uri')}, {resource.get('mimeType')}, {size} characters"
    if kind == "resource_link":
        return f"link {block.get('uri')}"
    return f"{kind}, which I don't know"


@_command()
def what(turn: DemoTurn) -> None:
    """Describes the content blocks of the prompt."""
    described = "; ".join(f"{number}. {_describe(block)}" for number, block in enumerate(turn.blocks, 1))
    turn.line(f"I received {described or 'nothing'}.")


@_command()
def image(turn: DemoTurn) -> None:
    """Describes the content blocks of the prompt."""
    what(turn)


@_command("TEXT")
def remember(turn: DemoTurn, text: str) -> None:
    """Stores TEXT in the session."""
    turn.session.remembered.append(text)
    turn.line(f"I keep: {text}")


@_command()
def recall(turn: DemoTurn) -> None:
    """Says what `remember` has stored."""
    texts = turn.session.remembered
    turn.line(f"You told me to remember: {'; '.join(texts)}" if texts else "You told me to remember nothing.")


@_command()
def env(turn: DemoTurn) -> None:
    """Lists the names of its environment variables, and its working directory."""
    turn.line(f"Working directory: {os.getcwd()}\nVariables: {' '.join(sorted(os.environ))}")  # noqa: PTH109 - pathlib costs start-up time


@_command()
def pid(turn: DemoTurn) -> None:
    """Says its process id."""
    turn.line(f"My pid is {os.getpid()}.")


@_command()
def garbage(turn: DemoTurn) -> None:
    """Writes lines to stdout that are not JSON-RPC, then goes on."""
    lines = (b"this is no JSON", b"", b"   ", b'[1, 2, {"a": 3}]', b'"a string"', b"42", b"null", b"\xff\xfe\xfd", b"{")
    turn.host.write(b"\n".join((*lines, b"")))
    turn.line(f"I wrote {len(lines)} lines of noise.")


@_command()
def late(turn: DemoTurn) -> None:
    """Sends one more chunk after the answer to the prompt."""
    turn.after.append("This chunk comes late.")


@_command()
def permit(turn: DemoTurn) -> None:
    """Asks for permission without a tool call before."""
    chosen = turn.ask(f"call-{turn.request_id}-permit", "Something that I only ask about")
    turn.line(f"You chose: {chosen or 'none'}.")
