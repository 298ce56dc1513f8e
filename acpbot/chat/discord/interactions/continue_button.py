"""The button 'Continue' below an answer that a limit has cut. Pure.

It has the same id everywhere, so a press works after a restart too: it is as if the person had written 'continue'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from acpbot.sessions.turn import TurnEnd

LABEL: Final = "Continue"
CUSTOM_ID: Final = "acpbot-continue"
PROMPT: Final = "continue"
BUTTON: Final[dict[str, Any]] = {"type": 2, "style": 1, "label": LABEL, "custom_id": CUSTOM_ID}
"""As Discord wants it (message components): type 2 is a button, style 1 the main action."""

_CUT: Final = frozenset({"max_tokens", "max_turn_requests"})


def fits(end: TurnEnd) -> bool:
    """Whether an answer that ended so can be continued: a limit has cut it, and nobody wanted it to stop."""
    return end.at_limit or end.stop_reason in _CUT
