"""Permission requests as buttons, and every sentence around them. Pure.

The ``custom_id`` of a button holds the name of the request and the option's index, so nothing need be stored to know
what a click is for after a restart. Names of requests are never reused: an old request is not open any more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from acpbot.acp import permissions
from acpbot.chat.rendering.markdown import code, fence
from acpbot.text import one_line, shorten
from acpbot.times import long_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.acp.schema import PermissionOption
    from acpbot.sessions.turn import PermissionOutcome

Style = Literal["success", "danger", "secondary"]

BUTTONS_MAX: Final = 25
"""Buttons on a message: five rows of five (Discord, message components)."""

ROW_MAX: Final = 5
"""Buttons in a row."""

_LABEL_MAX: Final = 80
_TITLE_LINE_MAX: Final = 100
_TITLE_MAX: Final = 1200
_INDENT_MAX: Final = 40
# Of 92 characters at most: Discord takes 100.
_CUSTOM_ID: Final = re.compile(r"acpbot:([A-Za-z0-9_.-]{1,80}):(0|[1-9][0-9]{0,3})")
_ID: Final = re.compile(r"[0-9]{1,20}")

_LABELS: Final = {
    "allow_once": "✅ Allow once",
    "allow_always": "✅ Always allow",
    "reject_once": "❌ Reject",
    "reject_always": "❌ Always reject",
}
_ENDS: Final = {
    "allow_once": "✅ Allowed once",
    "allow_always": "✅ Always allowed in this session",
    "reject_once": "❌ Rejected",
    "reject_always": "❌ Rejected, always",
}
# A name made of nothing but these says no more than the kind does.
_PLAIN: Final = frozenset(
    {"accept", "allow", "allowed", "always", "approve", "cancel", "deny", "no", "once", "reject", "this", "time", "yes"}
)

STALE: Final = (
    "This request has ended already: its turn is over, or acpbot was started again since. Nothing was changed."
)
"""Answer to a click on a button whose request is not open any more."""

NOT_OFFERED: Final = "The agent does not offer this answer any more. Nothing was changed."
"""Answer to a click whose option the request does not have."""


class Pressed(msgspec.Struct, frozen=True):
    """What a ``custom_id`` of ours says: the request's name and the option's place among its options, from 0."""

    request: str
    index: int


class Button(msgspec.Struct, frozen=True):
    """One button, in Discord's limits: ``custom_id`` of 100 characters at most, ``label`` of 80."""

    custom_id: str
    label: str
    style: Style


def encode(request: str, index: int) -> str:
    """The ``custom_id`` of an option. Raises ValueError where the name of the request can't be in one."""
    custom_id = f"acpbot:{request}:{index}"
    if decode(custom_id) is None:
        raise ValueError(f"cannot make a button: the request's name {request[:80]!r} does not fit into its id")
    return custom_id


def decode(custom_id: str) -> Pressed | None:
    """What :func:`encode` was given; ``None`` for what it did not make, such as another bot's or an altered id."""
    match = _CUSTOM_ID.fullmatch(custom_id)
    return None if match is None else Pressed(match[1], int(match[2]))


def label_for(option: PermissionOption, *, alone: bool = True) -> str:
    """What the button says: what its kind does comes first, since an agent may name an option as it likes.

    Its name follows where it says more than the kind, or where the option is not ``alone`` of its kind.
    """
    known = _LABELS.get(option.kind)
    if known is None:
        return shorten(f"❔ {one_line(option.name, _LABEL_MAX) or one_line(option.option_id, _LABEL_MAX)}", _LABEL_MAX)
    name = one_line(option.name, _LABEL_MAX)
    if not name or (alone and _PLAIN.issuperset(re.findall(r"\w+", name.lower()))):
        return known
    return shorten(f"{known}: {name}", _LABEL_MAX)


def style_for(kind: str) -> Style:
    """Green where something is allowed, red where it is rejected, grey where the kind is not known."""
    if kind in permissions.ALLOW:
        return "success"
    return "danger" if kind in permissions.REJECT else "secondary"


def buttons_for(request: str, options: Sequence[PermissionOption]) -> list[Button]:
    """The buttons of a request, in the agent's order; an empty list where it offers nothing.

    Past 25 options the rest has none; a rejection is always among those that have. Raises ValueError as :func:`encode`.
    """
    shown = list(range(min(len(options), BUTTONS_MAX)))
    reject = next((index for index, option in enumerate(options) if option.kind in permissions.REJECT), None)
    if reject is not None and reject not in shown:
        shown[-1] = reject
    kinds = [options[index].kind for index in shown]
    return [
        Button(
            encode(request, index),
            label_for(options[index], alone=kinds.count(options[index].kind) == 1),
            style_for(options[index].kind),
        )
        for index in shown
    ]


def ask_text(title: str, timeout_seconds: float, asker_id: str) -> str:
    """The message that carries the buttons; ``title`` is the tool's, in full as far as it fits.

    It names the asker by mention: whether that pings is for the sender to say. 1,500 UTF-16 code units at most.
    """
    who = f"{_mention(asker_id)} or an admin can answer" if _ID.fullmatch(asker_id) else "An admin can answer"
    return f"🔐 The agent asks to use{_title(title)}\n{who}; after {long_duration(timeout_seconds)} it is rejected."


def end_text(
    outcome: PermissionOutcome | None, title: str, chosen: PermissionOption | None, *, answered_by: str | None = None
) -> str:
    """What the message says once the request has ended, in place of the buttons.

    ``answered_by``: the Discord id of who clicked; ``None`` where nobody did (an operator answered at a shell).
    """
    what = code(title, _TITLE_LINE_MAX)
    if outcome == "expired":
        return f"⌛ Nobody answered in time, so it was rejected: {what}"
    if outcome != "selected":
        return f"⏹️ No answer is needed any more: {what}"
    who = f" by {_mention(answered_by)}" if answered_by is not None else " by an operator"
    kind = "" if chosen is None else chosen.kind
    if kind in _ENDS:
        return f"{_ENDS[kind]}{who}: {what}"
    name = "" if chosen is None else one_line(chosen.name, _LABEL_MAX)
    return f"❔ Answered{f' {code(name)}' if name else ''}{who}: {what}"


def lost_text(title: str) -> str:
    """What the message says after a restart of the daemon, in place of the buttons."""
    return f"⏹️ acpbot was restarted, so no answer is needed any more: {code(title, _TITLE_LINE_MAX)}"


def unasked(title: str) -> str:
    """What the thread gets where Discord has refused the message with the buttons."""
    return f"❌ I could not ask for this permission here, so it was rejected: {code(title, _TITLE_LINE_MAX)}"


def not_yours(asker_id: str) -> str:
    """Answer to a click of somebody who may not answer this request."""
    if not _ID.fullmatch(asker_id):
        return "Only an admin of the bot can answer this one. Nothing was changed."
    return f"Only {_mention(asker_id)} or an admin of the bot can answer this one. Nothing was changed."


def answered_already(outcome: PermissionOutcome, answered_by: str | None = None) -> str:
    """Answer to a click that came second."""
    if outcome == "expired":
        return "You are a little late: nobody answered in time, so it was rejected."
    if outcome == "cancelled":
        return "No answer is needed any more: the turn was cancelled."
    who = f" by {_mention(answered_by)}" if answered_by is not None else ""
    return f"This was answered already{who}. Nothing was changed."


def _mention(user_id: str) -> str:
    return f"<@{user_id}>"


def _title(title: str) -> str:
    """On one line where it fits there; else as a block, since it is what the permission is for."""
    whole = title.strip()
    if len(whole) <= _TITLE_LINE_MAX and "\n" not in whole:
        return f" {code(whole, _TITLE_LINE_MAX)}"
    lines = [
        " " * min(len(line) - len(line.lstrip()), _INDENT_MAX) + one_line(line, _TITLE_MAX)
        for line in whole[: 2 * _TITLE_MAX].split("\n")
    ]
    # fence() adds a character to each backtick.
    budget = _TITLE_MAX - min(whole[:_TITLE_MAX].count("`"), _TITLE_MAX // 2)
    return "\n" + fence(shorten("\n".join(lines), budget))
