"""What a thread in Discord reads about the end of a turn. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.rendering.markdown import code, plain
from acpbot.sessions.turn import OPERATOR

if TYPE_CHECKING:
    from acpbot.sessions.turn import TurnEnd

NOT_SHOWN: Final = (
    "😱 Something went wrong on my side, so I can't show this answer here. Here's what I have of it, as a file. "
    "An admin can check the log."
)
"""What a thread reads in place of an answer that could not be shown as messages."""

_STOPPED: Final = {
    "refusal": "The model declined this request.",
    "max_tokens": 'Cut off at the model\'s output limit. Say "continue".',
    "max_turn_requests": 'Stopped at the agent\'s limit on requests to its model. Say "continue".',
}

END_ICONS: Final = {"error": "😱", "cancelled": "⏹️"}
"""Before the text about a turn's end, by its stop reason."""


def end_text(end: TurnEnd, *, started: bool, blank: bool) -> str:
    """Why a turn has ended, where that is not what people expect; else empty. ``blank``: the agent wrote nothing."""
    if end.stop_reason == "error":
        return plain(end.error) if end.error else "The turn failed."
    if end.stop_reason == "cancelled":
        return end.error or (_cancelled_text(end) if started else _left_line_text(end.cancelled_by))
    if end.stop_reason in _STOPPED:
        return _STOPPED[end.stop_reason]
    if end.stop_reason != "end_turn":
        return f"The agent stopped: {code(end.stop_reason)}."
    return "The agent finished without a reply." if blank else ""


def _left_line_text(by: str | None) -> str:
    """What a thread reads of a turn that has not run; nothing where its author has deleted the message."""
    return "" if by is None else f"Taken out of the line by <@{by}>."


def _cancelled_text(end: TurnEnd) -> str:
    """What a thread reads of a turn that somebody has cancelled."""
    what, why = ("Interrupted", " to send the next message") if end.interrupted else ("Cancelled", "")
    by = end.cancelled_by
    who = "" if by is None else f" by {'an admin' if by == OPERATOR else f'<@{by}>'}"
    return f"{what}{who}{why}."
