"""The texts of the answers to slash commands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.rendering.footer import context_text
from acpbot.chat.rendering.markdown import code
from acpbot.times import short_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.sessions.options import Options
    from acpbot.sessions.views import Row

NOT_ENDED: Final = (
    "I closed the session, but I could not make sure that nothing of it is left. An admin can check the log."
)
NOT_HERE: Final = "You don't have access to this bot here. Ask an admin."
NO_SESSION: Final = "There is no session here: mention me in a channel with what you want done, or write in a thread."
LEFT_LINE: Final = "Done. What waited here is out of the line."
UNASKED: Final = "In this mode the agent doesn't always ask before it acts."
AGENT_HELP: Final = "`/agent NAME` starts this thread over with another one."
HELP: Final = """\
Mention me in a channel with what you want done: a thread opens, and an agent works in it. \
In the thread just write on; what you write while it works waits its turn, and can be edited or deleted until then.
`/status` what it is doing · `/cancel` stop the current answer · `/close` free its place · `/reset` start over
`/model`, `/mode`, `/options` show or choose · `/agent` another agent · `/sessions` yours"""

_STATES: Final = {
    "starting": "🚀 starting",
    "idle": "💤 idle",
    "busy": "🔥 working",
    "waiting": "🔐 waiting for a permission",
    "stuck": "😨 silent for long",
    "suspended": "🌙 suspended; the next message picks it up again",
    "closing": "🚪 ending",
    "gone": "🚪 ended",
}
IN_LINE: Final = "⏳ in line for a free agent"
_ROWS_MAX: Final = 20


def not_yours_text(*people: str | None) -> str:
    """Answer to a command that only these people (ids, perhaps unknown) and admins may give."""
    named = [f"<@{person}>" for person in dict.fromkeys(people) if person]
    return f"Only {' or '.join([*named, 'an admin'])} can do this here."


def next_text(*, resumable: bool) -> str:
    """What the next message in a thread does whose session has ended."""
    return f"Your next message {'continues the conversation' if resumable else 'starts a new conversation'}."


def _state(row: Row) -> str:
    return IN_LINE if row.state == "suspended" and row.queued else _STATES[row.state]


def status_text(row: Row, options: Options | None) -> str:
    """One thread's row, one line for each fact."""
    lines = [f"{_state(row)} · agent {code(row.agent)} · {row.turns} turn{'s' * (row.turns != 1)}"]
    if row.turn_seconds is not None:
        silent = f", silent for {short_duration(row.silent_seconds or 0)}"
        lines.append(f"This turn: {short_duration(row.turn_seconds)}{silent}")
    elif row.idle_seconds:
        lines.append(f"Idle for {short_duration(row.idle_seconds)}")
    if row.activity:
        lines.append(f"Running: {code(row.activity)}")
    if row.waiting_for:
        lines.append(f"Waits for a permission: {code(row.waiting_for)}")
    if row.queued:
        lines.append(f"{row.queued} message{'s' * (row.queued != 1)} queued")
    if options is not None:
        lines += _options(options)
    if row.context_used is not None:
        lines.append(f"Context: {context_text(row.context_used, row.context_size)}")
    if row.cost is not None:
        lines.append(f"Cost in this thread: {row.cost}")
    return "\n".join(lines)


def _options(options: Options) -> list[str]:
    current = [(category, options.current(category)) for category in ("model", "mode")]
    lines = [f"{category.capitalize()}: {code(choice.name)}" for category, choice in current if choice is not None]
    return [*lines, UNASKED] if options.unasked is not None else lines


def sessions_text(rows: Sequence[Row]) -> str:
    """A person's sessions, the newest first."""
    if not rows:
        return "You have no sessions. Mention me in a channel to begin one."
    newest = sorted(rows, key=lambda row: row.created_at, reverse=True)
    lines = [f"<#{row.thread_id}> {_state(row).partition(';')[0]} · {code(row.agent)}" for row in newest]
    left = len(lines) - _ROWS_MAX
    return "\n".join([*lines[:_ROWS_MAX], *([f"… and {left} more."] if left > 0 else [])])
