"""What the chat says, on a terminal and without one, and the commands that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpctl.render.session_rows import session_fields, state_cell
from acpctl.text import width

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
_COMMANDS: Final = {"/help": "help", "/cancel": "cancel", "/status": "status", "/quit": "quit", "/exit": "quit"}
_STOP_REASONS: Final = {
    "cancelled": "the turn was cancelled",
    "refusal": "the agent refuses to go on",
    "max_tokens": "the answer was cut: the model's limit of tokens is reached",
    "max_turn_requests": "the turn was cut: the limit of requests is reached",
}
HELP_LINES: Final = (
    "/status   the session: state, working directory, agent",
    "/cancel   stop the running turn (as Ctrl-C, which first clears a half-typed line)",
    "/quit     leave (as Ctrl-D); the session stays",
    "Anything else goes to the agent, its own /commands too. Alt-Enter begins a new line.",
)


def parse_command(line: str) -> str | None:
    """The chat's own command in ``line``; ``None`` for a line that goes to the agent."""
    return _COMMANDS.get(line.strip().lower())


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
