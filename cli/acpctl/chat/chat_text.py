"""What the chat says, on a terminal and without one, and the commands that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpctl.render.session_rows import session_fields, state_cell
from acpctl.text import clean, truncate, width

if TYPE_CHECKING:
    from acpctl.chat.chat_view import ToolCall
    from acpctl.render.renderer import Renderer

# A glyph, and the text where the encoding does not have the glyph.
_TOOL_MARKS: Final = {
    "pending": ("🔧", "[tool]"),
    "in_progress": ("🔧", "[tool]"),
    "completed": ("✅", "[done]"),
    "failed": ("❌", "[failed]"),
}
_PLAN_MARKS: Final = {
    "completed": ("☑", "[x]", "dim"),
    "in_progress": ("▸", "[>]", "bold"),
    "pending": ("☐", "[ ]", ""),
}
_RECENT_MARKS: Final = {"tool": "🔧 ", "prompt": "> "}  # by kind, of the lines before the thread was opened
_COMMANDS: Final = {"/help": "help", "/cancel": "cancel", "/status": "status", "/quit": "quit", "/exit": "quit"}
# The daemon does these (`chat.command`); all but the last may be followed by a value.
_DAEMON_COMMANDS: Final = ("model", "mode", "options", "agent", "reset")
_STOP_REASONS: Final = {
    "cancelled": "the turn was cancelled",
    "refusal": "the model declined this request",
    "max_tokens": "the answer was cut off at the model's output limit",
    "max_turn_requests": "the turn was stopped at the agent's limit of requests",
}
HELP_LINES: Final = (
    "/status   the session: state, working directory, agent",
    "/model    the agent's models; /model NAME sets one; /mode works the same way",
    "/options  all the agent's options; /options NAME VALUE sets one",
    "/agent    the agents; /agent NAME switches, and this thread starts fresh",
    "/cancel   stop the running turn (like Ctrl-C, which first clears a half-typed line)",
    "/now      stop the running turn and send the message that waits; /now TEXT sends TEXT in the same way",
    "/reset    forget this conversation and start a new one",
    "/quit     leave (like Ctrl-D); the session stays",
    "Anything else goes to the agent, including its own /commands. Put a space first to send one of the names above.",
    "Alt-Enter starts a new line.",
)


class Command(NamedTuple):
    """A command of the chat. ``value`` is empty where there is none; ``is_daemons``: it goes into ``chat.command``."""

    name: str
    value: str = ""
    is_daemons: bool = False


def parse_command(line: str) -> Command | None:
    """The chat's own command in ``line``; ``None`` for a line that goes to the agent.

    It goes before a command of the agent that has the same name; a line that begins with a space is never ours.
    """
    if not line.startswith("/") or "\n" in line.strip():
        return None
    word, _, value = line.strip().partition(" ")
    name, value = word.lower().removeprefix("/"), value.strip()
    if name in _DAEMON_COMMANDS and not (name == "reset" and value):
        return Command(name, value, is_daemons=True)
    if name == "now":
        return Command(name, value)
    own = None if value else _COMMANDS.get(word.lower())
    return None if own is None else Command(own)


def opening_lines(row: dict[str, Any], recent: list[dict[str, Any]], columns: int) -> list[str]:
    """What a thread that is known already shows when it is opened: its title, its agent, its last lines."""
    title = clean(row.get("title"))
    if not title and not recent:
        return []
    agent = f"agent {clean(row.get('agent'))}"
    head = f"{title} ({agent})" if title else agent
    lines = [(_RECENT_MARKS.get(clean(line.get("kind")), ""), clean(line.get("text"))) for line in recent]
    return [
        truncate(head, columns),
        *(truncate(f"  {mark}{text}", columns) for mark, text in lines if text and text != "end_turn"),
    ]


def tool_mark(call: ToolCall, out: Renderer) -> str:
    """The symbol of a tool call's status."""
    return out.glyph(*_TOOL_MARKS.get(call.status, _TOOL_MARKS["in_progress"]))


def plan_lines(entries: list[tuple[str, str]], out: Renderer) -> list[tuple[str, str]]:
    """A plan as a checklist: lines and their styles."""
    lines = []
    for status, content in entries:
        glyph, plain, style = _PLAN_MARKS.get(status, _PLAN_MARKS["pending"])
        lines.append((f"{out.glyph(glyph, plain)} {content}", style))
    return lines


def status_lines(row: dict[str, Any], out: Renderer) -> list[str]:
    """The answer to `/status`, unstyled."""
    pairs = [("state", state_cell(row, out)), *session_fields(row, out)]
    names = max(width(name) for name, _ in pairs)
    return [f"{name.ljust(names)}  {text}" for name, (text, _) in pairs]


def stop_text(stop_reason: str, error: str) -> str:
    """Why a turn ended; empty where it ended as usual."""
    if stop_reason == "end_turn":
        return ""
    if stop_reason == "error":
        return error or "the turn failed"
    if stop_reason == "cancelled" and error:
        return error
    return _STOP_REASONS.get(stop_reason, f"the turn ended: {stop_reason}")
