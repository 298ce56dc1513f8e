"""What a tool call does, as people read it: its command, path, query or address. Pure.

Agents name the members of a tool's input as they like: these are the names that common agents use.
Source: https://agentclientprotocol.com/protocol/tool-calls.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, Final

from acpbot.chat.rendering.markdown import code, fence, plain
from acpbot.text import clean, one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

DETAIL_MAX: Final = 600
"""Characters of a command, path, query or address that are kept."""

_COMMAND: Final = ("command", "cmd", "script", "code")
_SUBJECT: Final = (
    *("file_path", "filePath", "filepath", "abs_path", "absolute_path", "notebook_path", "path"),
    *("pattern", "query", "regex", "url", "uri"),
)
_SHELL_OPTIONS: Final = frozenset({"-c", "-lc"})
_LINES_MAX: Final = 6
_LINE_MAX: Final = 120
_TITLE_MAX: Final = 100
_BLOCK_MAX: Final = 500
_NAME_MIN: Final = 3
_VERBS: Final = {"execute": "Run", "edit": "Edit", "read": "Read", "search": "Search", "fetch": "Fetch"}


def detail(body: Mapping[str, Any]) -> str | None:
    """The command, path, query or address in a tool call or its update; ``None`` where it names none."""
    raw = body.get("rawInput")
    if isinstance(raw, dict):
        for name in _COMMAND:
            command = _command(raw.get(name))
            if command:
                return command[:DETAIL_MAX]
        for name in _SUBJECT:
            subject = raw.get(name)
            if isinstance(subject, str) and subject.strip():
                return subject[:DETAIL_MAX]
    locations = body.get("locations")
    if isinstance(locations, list) and locations and isinstance(locations[0], dict):
        path = locations[0].get("path")
        if isinstance(path, str) and path.strip():
            return path[:DETAIL_MAX]
    return None


def within(text: str | None, folder: str) -> str | None:
    """The text with paths below the agent's folder as they are called there; ``None`` where it names just that."""
    if text is None or len(folder) < 2 or folder not in text:  # noqa: PLR2004 - / is part of every path
        return text
    short = re.sub(rf"(?<![\w./-]){re.escape(folder)}/", "", text)
    return None if short.strip() in {"", folder} else short


def todos(body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The list of tasks that a tool call writes, as entries of a plan; ``None`` for all other calls."""
    raw = body.get("rawInput")
    found = raw.get("todos") if isinstance(raw, dict) else None
    if not isinstance(found, list):
        return None
    return [entry for entry in found if isinstance(entry, dict) and isinstance(entry.get("content"), str)]


def tool_text(title: str, kind: str, about: str) -> str:
    """A tool call on one line; a command of several lines is a code block below it. ``about``: see :func:`detail`."""
    title = one_line(title, _TITLE_MAX)
    if title.count("`") == 2:  # noqa: PLR2004 - one on each side
        title = title.removeprefix("`").removesuffix("`") if title[0] == title[-1] == "`" else title
    lines = clean(about).strip().split("\n")
    if len(lines) > 1:
        short = [shorten(line, _LINE_MAX) for line in lines[:_LINES_MAX]]
        more = ["…"] if len(lines) > _LINES_MAX else []
        block = fence(shorten("\n".join([*short, *more]), _BLOCK_MAX), "sh")
        own = title if title and not _same(title, about) else _VERBS.get(kind, "Run")
        return f"{plain(own)}:\n{block}"
    subject = one_line(about, _LINE_MAX)
    if not subject or _names(title, subject):
        return code(title or kind or "tool", _TITLE_MAX)
    if not title or _same(title, subject) or title.casefold() in subject.casefold():
        return code(subject, _LINE_MAX)
    return f"{plain(title)}: {code(subject, _LINE_MAX)}"


def _command(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        return ""
    if len(value) == 3 and value[1] in _SHELL_OPTIONS:  # noqa: PLR2004 - a shell, its option and the script
        return str(value[2]).strip()
    return shlex.join(value)


def _names(title: str, subject: str) -> bool:
    """Whether the title says what the call is about: all of it, or the name of the file."""
    name = subject.rstrip("/").rsplit("/", 1)[-1]
    if re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", title) is not None:
        return True
    return len(name) >= _NAME_MIN and " " not in subject and "/" in subject and name in title


def _same(title: str, about: str) -> bool:
    """Whether the title is the beginning of a command."""
    return " ".join(clean(about).split()).startswith(" ".join(title.rstrip("….").split()))
