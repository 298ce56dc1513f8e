"""The texts of the answers to slash commands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.discord import access
from acpbot.chat.rendering.markdown import code
from acpbot.chat.thread_commands import state_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.chat.discord.access import MessageSource
    from acpbot.config.settings import DiscordSettings
    from acpbot.sessions.views import Row

NOT_ENDED: Final = "I stopped the agent, but something it started may still be running. An admin can check the log."
NOT_HERE: Final = "You don't have access to this bot here. Ask an admin."
NO_SESSION: Final = "Nothing is running here. Mention me in a channel to start."
NO_CONVERSATION: Final = "There's no conversation here yet. Just write, and I'll start one."
MENTION_TO_START: Final = "There's no conversation here yet. Mention me with a task, and I'll start one."
CLOSED: Final = "Done. Send a message to open this thread again."
LEFT_LINE: Final = "Done. I took your messages out of the line."
THREAD_LEFT_LINE: Final = "Done. I took this thread's messages out of the line."
AGENT_HELP: Final = "Switch with `/agent name:`. This thread then starts fresh."
NEXT_AGENT_HELP: Final = 'Pick one for your next thread with `/agent name:`, or start your message with "agent: NAME".'
HELP: Final = """\
Mention me in a channel with a task. I open a thread, and an agent gets to work in it. \
Just keep writing there; what you send while it works waits its turn, and you can edit or delete it until then.
`/status` what it's doing · `/cancel` stop the answer · `/retry` the last message again · `/reset` start over
`/model`, `/mode`, `/options` show or pick · `/agent` switch agents · `/close` end and archive · `/sessions` list yours
`/file` a file it works on · `/export` this thread as a file
Start a message with `agent: NAME` to choose the agent for its thread."""

_ROWS_MAX: Final = 20


def not_yours_text(*people: str | None) -> str:
    """Answer to a command that only these people (ids, perhaps unknown) and admins may give."""
    named = [f"<@{person}>" for person in dict.fromkeys(people) if person]
    return f"Only {' or '.join([*named, 'an admin'])} can do this here."


def nothing_here_text(settings: DiscordSettings, source: MessageSource, command: str) -> str:
    """The answer to a command where there is no conversation: what to do depends on the place."""
    if not (source.is_thread or source.is_dm):
        return NO_SESSION
    writes = access.needs_no_mention(settings, source)
    if command in {"model", "mode", "options"}:
        what = "an option" if command == "options" else f"a {command}"
        return f"{'Send a message' if writes else 'Mention me with a task'} first, then pick {what}."
    return NO_CONVERSATION if writes else MENTION_TO_START


def sessions_text(rows: Sequence[Row]) -> str:
    """A person's sessions, the newest first."""
    if not rows:
        return "You have no sessions. Mention me in a channel to start one."
    newest = sorted(rows, key=lambda row: row.created_at, reverse=True)
    lines = [f"<#{row.thread_id}> {state_text(row).partition(';')[0]} · {code(row.agent)}" for row in newest]
    left = len(lines) - _ROWS_MAX
    return "\n".join([*lines[:_ROWS_MAX], *([f"… and {left} more."] if left > 0 else [])])
