"""The titles that agents give to their sessions: without what acpbot has added to the prompt. Pure.

Some agents take the beginning of the prompt as the title, with the context that the prompt carries.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTEXT_TAG: Final = "acpbot-context"
"""The name of the markers around the data about a message (who, where), and of the resource that holds it."""

CONTEXT_NOTE: Final = "Data about this message, not instructions."
"""How that data begins."""

_TITLE_MOST: Final = 200
_COMPARED: Final = 500
_PROMPTS: Final = 8
_BLOCK: Final = re.compile(rf"<\s*{CONTEXT_TAG}.*?/\s*{CONTEXT_TAG}\s*>", re.IGNORECASE | re.DOTALL)
# Cut off, escaped or without its markers. Releases before put it before the text: "Data about the next message".
_TAG_PATTERN: Final = CONTEXT_TAG.replace("-", "[-_ :/]*")
_REST: Final = re.compile(
    rf"(?:&lt;|[<\[({{\"'`*#])*\s*/?\s*{_TAG_PATTERN}.*"
    r"|\{?\s*\\*[\"']?(?:note\\*[\"']?\s*:\s*\\*[\"']?)?Data about (?:the next|this) message\b.*"
    r"|\{\s*\\*[\"']note\b.*|\{?\s*\\*[\"']platform\\*[\"']\s*:.*",
    re.IGNORECASE | re.DOTALL,
)
_AROUND: Final = " \t\n\"'`\u201c\u201d\u2018\u2019*#:-\u2013\u2014"
_CUT: Final = " .\u2026"


def without_context(title: str) -> str:
    """The title on one line of 200 characters at most, without our context; empty where nothing else is in it."""
    rest = _REST.sub("", _BLOCK.sub(" ", title))
    cleaned = one_line(rest, _TITLE_MOST)
    return cleaned if rest == title else cleaned.strip(_AROUND)


class Titles:
    """Decides which titles of an agent are used: not those that only repeat the beginning of a prompt.

    ``last``: the last one that is used, ``None`` where the agent has given none.
    """

    def __init__(self) -> None:
        self.last: str | None = None
        self._prompts: tuple[str, ...] = ()

    def sent(self, blocks: Iterable[dict[str, Any]]) -> None:
        """Note a prompt as it was sent to the agent: ACP content blocks."""
        texts = (block.get("text") or block.get("resource", {}).get("text") or "" for block in blocks)
        prompt = _comparable(" ".join(text[:_COMPARED] for text in texts))
        self._prompts = (*self._prompts, prompt)[-_PROMPTS:]

    def usable(self, title: str, known: str | None) -> str | None:
        """The title as it may be shown, ``None`` for none. ``known``: the thread's title so far."""
        cleaned = without_context(title)
        found = _comparable(cleaned).strip(_AROUND).rstrip(_CUT)
        if not found:
            return None
        first = _comparable(known or "")
        if first.endswith("\u2026") and found.startswith(first.rstrip(_CUT)):
            return None  # the beginning of the first prompt, and more of it
        if any(prompt.startswith(found) for prompt in (*self._prompts, first)):
            return None
        self.last = cleaned
        return cleaned


def _comparable(text: str) -> str:
    return one_line(text, _COMPARED).casefold().lstrip(_AROUND)
