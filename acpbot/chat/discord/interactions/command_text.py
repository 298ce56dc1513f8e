"""The texts of the answers to slash commands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.rendering.markdown import code
from acpbot.chat.thread_commands import state_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.sessions.views import Row

NOT_ENDED: Final = (
    "I closed the session, but I could not make sure that nothing of it is left. An admin can check the log."
)
NOT_HERE: Final = "You don't have access to this bot here. Ask an admin."
NO_SESSION: Final = "There is no session here: mention me in a channel with what you want done, or write in a thread."
LEFT_LINE: Final = "Done. What waited here is out of the line."
AGENT_HELP: Final = "`/agent NAME` starts this thread over with another one."
NEXT_AGENT_HELP: Final = '`/agent NAME` chooses the one for your next thread. Or begin your message with "agent: NAME".'
HELP: Final = """\
Mention me in a channel with what you want done: a thread opens, and an agent works in it. \
In the thread just write on; what you write while it works waits its turn, and can be edited or deleted until then.
`/status` what it is doing · `/cancel` stop the current answer · `/retry` the last message again · `/reset` start over
`/model`, `/mode`, `/options` show or choose · `/agent` another agent · `/close` end and archive · `/sessions` yours
`/file` a file that it works on · `/export` this thread as a file
A message that begins with `agent: NAME` opens its thread with that agent."""

_ROWS_MAX: Final = 20


def not_yours_text(*people: str | None) -> str:
    """Answer to a command that only these people (ids, perhaps unknown) and admins may give."""
    named = [f"<@{person}>" for person in dict.fromkeys(people) if person]
    return f"Only {' or '.join([*named, 'an admin'])} can do this here."


def next_text(*, resumable: bool) -> str:
    """What the next message in a thread does whose session has ended."""
    return f"Your next message {'continues the conversation' if resumable else 'starts a new conversation'}."


def sessions_text(rows: Sequence[Row]) -> str:
    """A person's sessions, the newest first."""
    if not rows:
        return "You have no sessions. Mention me in a channel to begin one."
    newest = sorted(rows, key=lambda row: row.created_at, reverse=True)
    lines = [f"<#{row.thread_id}> {state_text(row).partition(';')[0]} · {code(row.agent)}" for row in newest]
    left = len(lines) - _ROWS_MAX
    return "\n".join([*lines[:_ROWS_MAX], *([f"… and {left} more."] if left > 0 else [])])
