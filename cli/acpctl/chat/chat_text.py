"""What both faces of the chat say, and the commands that they take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpctl.render.session_rows import facts, state_cell
from acpctl.text import width

if TYPE_CHECKING:
    from acpctl.render.output import Output

# What a terminal shows where its encoding can, and what it shows else.
TOOL_MARKS: Final = {
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
_COMMANDS: Final = {"/help": "help", "/cancel": "cancel", "/status": "status", "/quit": "quit", "/exit": "quit"}
_STOPS: Final = {
    "cancelled": "the turn was cancelled",
    "refusal": "the agent refuses to go on",
    "max_tokens": "the answer was cut: the model's limit of tokens is reached",
    "max_turn_requests": "the turn was cut: the limit of requests is reached",
}


def command(line: str) -> str | None:
    """The command of ours that a line is; ``None`` for anything else, which goes to the agent."""
    return _COMMANDS.get(line.strip().lower())


def help_lines() -> list[str]:
    """What `/help` says."""
    return [
        "/status   the session: state, working directory, agent",
        "/cancel   stop the running turn (as Ctrl-C)",
        "/quit     leave (as Ctrl-D); the session stays",
        "Anything else goes to the agent, its own /commands too. Alt-Enter begins a new line.",
    ]


def plan_lines(entries: list[tuple[str, str]], out: Output, *, error: bool = False) -> list[tuple[str, str]]:
    """A plan as a checklist: lines and their styles."""
    lines = []
    for status, content in entries:
        glyph, plain, style = _PLAN_MARKS.get(status, _PLAN_MARKS["pending"])
        lines.append((f"{out.glyph(glyph, plain, error=error)} {content}", style))
    return lines


def status_lines(row: dict[str, Any], out: Output) -> list[str]:
    """What `/status` says of a session."""
    pairs = [("state", state_cell(row, out)), *facts(row, out)]
    label = max(width(name) for name, _ in pairs)
    return [f"{name.ljust(label)}  {text}" for name, (text, _) in pairs]


def stop_words(stop_reason: str, error: str) -> str:
    """What there is to say of a turn's end; empty where it ended as turns do."""
    if stop_reason == "end_turn":
        return ""
    if stop_reason == "error":
        return error or "the turn failed"
    return _STOPS.get(stop_reason, f"the turn ended: {stop_reason}")
