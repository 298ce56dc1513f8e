"""Which of an agent's conversations a thread takes up: they are listed on stderr, and a number answers."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from acpctl.client import objects
from acpctl.errors import CliError
from acpctl.exit_codes import NOT_FOUND
from acpctl.text import clean, truncate, width

if TYPE_CHECKING:
    from acpctl.render.output import Output

_DIGITS_MOST = 4


def pick_conversation(answer: dict[str, Any], thread: str, out: Output, columns: int) -> str | None:
    """The id of the conversation that the user picks of an answer of ``chat.conversations``; ``None`` for none.

    Raises ``CliError`` (exit 5) where there are none.
    """
    agent, cwd = clean(answer.get("agent")), clean(answer.get("cwd"))
    found = [one for one in objects(answer.get("conversations")) if isinstance(one.get("acp_session_id"), str)]
    if not found:
        own = cwd.rpartition("/")[2] == thread
        why = "; each thread has a folder of its own: see workspace_mode and working_dir in config.toml" if own else ""
        raise CliError(f"cannot resume a conversation: the agent {agent} has no other one in {cwd}{why}", NOT_FOUND)
    out.note(f"conversations of {agent} in {cwd}:")
    for number, one in enumerate(found, 1):
        out.note(_line(number, len(found), one, columns))
    if answer.get("more") is True:
        out.note("There are more; `acpctl chat --resume ID` resumes any of them.", "dim")
    while True:
        out.note(f"Which one? [1-{len(found)}, Enter for none] ", "bold", end="")
        typed = sys.stdin.readline()
        if not typed.endswith("\n"):
            out.note("")
        word = typed.strip()
        if not word:
            return None
        if word.isascii() and word.isdigit() and len(word) <= _DIGITS_MOST and 0 < int(word) <= len(found):
            return str(found[int(word) - 1]["acp_session_id"])


def _line(number: int, count: int, one: dict[str, Any], columns: int) -> str:
    at = f"{_when(one.get('updated_at')):16}"
    held = f"  (thread {clean(one.get('thread_id'))})" if one.get("thread_id") else ""
    end = f"  {clean(one['acp_session_id'])}{held}"
    begin = f"{number:>{len(str(count))}}  {at}  "
    title = clean(one.get("title")) or "-"
    room = max(12, columns - width(begin) - width(end))
    return f"{begin}{truncate(title, room)}{end}"


def _when(updated_at: object) -> str:
    """The local time of an RFC 3339 timestamp, to the minute; ``-`` where it is none."""
    try:
        return datetime.fromisoformat(clean(updated_at)).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return "-"
