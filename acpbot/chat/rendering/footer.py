"""The small line below an answer: who gave it, and what it has taken. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.rendering.markdown import plain
from acpbot.text import one_line
from acpbot.times import short_duration

if TYPE_CHECKING:
    from acpbot.sessions.turn import TurnFacts

_NAME_MAX: Final = 40
_THOUSAND: Final = 1000


def footer_text(facts: TurnFacts) -> str:
    """Agent, model, time, context and cost of one turn, as far as they are known; Markdown without effect."""
    parts = [plain(one_line(facts.agent, _NAME_MAX))]
    if facts.model:
        parts.append(plain(one_line(facts.model, _NAME_MAX)))
    parts.append(short_duration(facts.seconds))
    context = context_text(facts.context_used, facts.context_size)
    if context:
        parts.append(context)
    if facts.cost is not None:
        parts.append(str(facts.cost))
    return " · ".join(part for part in parts if part)


def context_text(used: int | None, size: int | None) -> str:
    """How many tokens are in the context, such as ``34k of 200k tokens (17%)``; empty where that is unknown."""
    if used is None:
        return ""
    if size is None:
        return f"{_tokens(used)} tokens"
    return f"{_tokens(used)} of {_tokens(size)} tokens ({used / size:.0%})"


def _tokens(count: int) -> str:
    if count < _THOUSAND:
        return str(count)
    return f"{count // _THOUSAND}k" if count < _THOUSAND**2 else f"{count / _THOUSAND**2:.1f}M"
