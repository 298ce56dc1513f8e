"""Which modes of agents do not ask before they act, as far as their own words say so. Pure."""

from __future__ import annotations

import re
from typing import Final

# Words of an id or a name: auto, autoEdit, accept_edits, dontAsk, bypassPermissions, agent-full-access, yolo, ...
_NAMES: Final = re.compile(
    r"\b(?:auto|automatic|automatically|autopilot|autonomous|bypass\w*|yolo|unrestricted|unattended|dangerously"
    r"|full access|accept (?:edits?|all)|allow all|(?:do ?nt|do not|don t|never|no) ask|skip permissions?"
    r"|workspace write)\b"
)
_DESCRIPTIONS: Final = re.compile(
    r"\b(?:without (?:\w+ )?(?:asking|approval|confirmation|permission|prompting|interaction)"
    r"|without user interaction|auto(?:matically)? (?:accept|allow|approv|run)\w*|bypass\w*|unrestricted|autonomous\w*"
    r"|full access|accepts? all|approves? all|allows? all|handles permission decisions|only asks?"
    r"|(?:do ?nt|do not|don t|never|no longer) (?:ask|prompt)s?|ask before writing outside)\b"
)
# codex calls its mode so in which it edits and runs what it holds to be safe. Copilot's agent mode, which asks, has a
# URL as its id.
_IDS: Final = frozenset({"agent"})


def does_not_ask(mode_id: str, name: str = "", description: str = "") -> str | None:
    """The words by which a mode says that it runs tools or edits files without a question; ``None`` where it has none.

    A mode without such words need not ask: an agent's own configuration decides, and an agent may say nothing of it.
    """
    if mode_id in _IDS:
        return mode_id
    for text in (mode_id.rpartition("#")[2], name):
        if found := _NAMES.search(_words(text)):
            return found[0]
    found = _DESCRIPTIONS.search(_words(description))
    return None if found is None else found[0]


def _words(text: str) -> str:
    """The words in lower case with a space between them: ``autoEdit``, ``auto-edit`` and ``Auto Edit`` are the same."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text[:1000])
    return re.sub(r"[\W_]+", " ", spaced.replace("'", "").replace("\u2019", "")).lower()
