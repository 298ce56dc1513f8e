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
from acpbot.sessions.permission_notes import because, verb
from acpbot.text import can_break, one_line, shorten, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.acp.schema import PermissionOption
    from acpbot.sessions.permission_action import Action
    from acpbot.sessions.turn import PermissionOutcome, PermissionRequest

Style = Literal["success", "danger", "secondary"]

BUTTONS_MAX: Final = 25
"""Buttons on a message: five rows of five (Discord, message components)."""

ROW_MAX: Final = 5
"""Buttons in a row."""

_LABEL_MAX: Final = 80
_TITLE_LINE_MAX: Final = 100
_BLOCK_MAX: Final = 1200
_LINES_MAX: Final = 40
# Of what does not fit: so much of its beginning and of its end.
_HEAD_MAX: Final = 800
_HEAD_LINES: Final = 25
_TAIL_MAX: Final = 300
_TAIL_LINES: Final = 10
_NOT_INLINE: Final = re.compile(r"[`\n\t]|  |^\s|\s$")
# Of 92 characters at most: Discord takes 100.
_CUSTOM_ID: Final = re.compile(r"acpbot:([A-Za-z0-9_.-]{1,80}):(0|[1-9][0-9]{0,3})")
_ID: Final = re.compile(r"[0-9]{1,20}")

_LABELS: Final = {
    "allow_once": "Allow",
    "allow_always": "Always allow",
    "reject_once": "Reject",
    "reject_always": "Always reject",
}
"""By kind, least power first."""
_ENDS: Final = {
    "allow_once": "✅ Allowed once",
    "allow_always": "✅ Allowed for this session",
    "reject_once": "❌ Rejected",
    "reject_always": "❌ Always rejected",
}
_ORDER: Final = {kind: place for place, kind in enumerate(_LABELS)}
# A name made of nothing but these says no more than the kind does.
_PLAIN: Final = frozenset(
    {"accept", "allow", "allowed", "always", "approve", "cancel", "decline", "deny", "it", "just", "no", "ok", "once"}
    | {"only", "permit", "proceed", "reject", "run", "this", "time", "yes"}
)

ALWAYS: Final = (
    "Always covers exactly this, only for you, until this session ends. The agent is told too, "
    "so it may stop asking about more than this."
)
"""What 'Always' covers, where the agent offers it."""

STALE: Final = "This request has expired."
"""Answer to a click on a button whose request is not open any more."""

BY_BUTTON: Final = "Please press one of the buttons: I can't tell which answer you mean."
"""Answer to a written 'yes' or 'no' that could mean several options, or only one that goes further."""

NOT_OFFERED: Final = "The agent no longer offers this answer."
"""Answer to a click whose option the request does not have."""


_WRITTEN: Final = {
    "yes": permissions.ALLOW,
    "allow": permissions.ALLOW,
    "no": permissions.REJECT,
    "reject": permissions.REJECT,
}


def written(text: str) -> Sequence[str] | None:
    """The kinds of option that a written answer means, least power first; ``None`` for any other text.

    The words are 'yes' and 'allow', 'no' and 'reject', in any case, with '.' or '!' after them.
    """
    word = text.strip().rstrip(".!").rstrip().casefold()
    return _WRITTEN.get(word)


def meant(options: Sequence[PermissionOption], kinds: Sequence[str]) -> PermissionOption | None:
    """The option that these words of :func:`written` mean; ``None`` where a button must say which one.

    A 'yes' allows once, never more. A 'no' rejects once, or always where that is the only rejection.
    """
    once = [option for option in options if option.kind == kinds[0]]
    if not once and kinds == permissions.REJECT:
        once = [option for option in options if option.kind == kinds[1]]
    return once[0] if len(once) == 1 else None


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
    """The buttons of a request, those of least power first; an empty list where it offers nothing.

    Of one kind they are in the agent's order, and kinds that are not known come last. Past 25 options the rest has
    none; a rejection is always among those that have. Raises ValueError as :func:`encode`.
    """
    shown = list(range(min(len(options), BUTTONS_MAX)))
    reject = next((index for index, option in enumerate(options) if option.kind in permissions.REJECT), None)
    if reject is not None and reject not in shown:
        shown[-1] = reject
    shown.sort(key=lambda index: _ORDER.get(options[index].kind, len(_ORDER)))
    kinds = [options[index].kind for index in shown]
    return [
        Button(
            encode(request, index),
            label_for(options[index], alone=kinds.count(options[index].kind) == 1),
            style_for(options[index].kind),
        )
        for index in shown
    ]


class Shown(msgspec.Struct, frozen=True):
    """An action as a message shows it: a question, and the action as inline code or as a block.

    ``title``: the agent's own, where it says something else. ``whole``: all of the action, where only its beginning and
    its end are here; else empty. ``left_out``: how many characters are not here.
    """

    question: str
    inline: str = ""
    block: str = ""
    title: str = ""
    whole: str = ""
    left_out: int = 0


def shown(action: Action) -> Shown:
    """The action in 1,400 UTF-16 code units at most; where not all of it fits, its beginning and its end."""
    text = action.text()
    title = one_line(action.title, _TITLE_LINE_MAX)
    part = _shown(action, text)
    return msgspec.structs.replace(part, title="" if title in text else title, whole=text if part.left_out else "")


def _shown(action: Action, text: str) -> Shown:
    question = f"**{action.question}**"
    word, path = action.heading
    if word and _is_short(path):
        if text == path:
            return Shown(f"**{word}**", inline=code(path))
        question = f"**{word}** {code(path)}?"
    elif _is_short(text):
        return Shown(question, inline=code(text))
    language = "diff" if action.has_changes else ""
    block = fence(text, language)
    lines = text.split("\n")
    if units(block) <= _BLOCK_MAX and len(lines) <= _LINES_MAX:
        return Shown(question, block=block)
    begin, end = "\n".join(lines[:_HEAD_LINES]), "\n".join(lines[-_TAIL_LINES:])
    # fence() adds a character to a backtick.
    head = shorten(begin, _HEAD_MAX - min(begin[:_HEAD_MAX].count("`"), _HEAD_MAX // 2))
    tail = _end(end, _TAIL_MAX - min(end[-_TAIL_MAX:].count("`"), _TAIL_MAX // 2))
    ellipses = (head != begin) + (tail != end)
    left = len(text) - len(head) - len(tail) + ellipses
    block = f"{fence(head, language)}\n… {left:,} characters …\n{fence(tail, language)}"
    return Shown(question, block=block, left_out=left)


def _is_short(text: str) -> bool:
    """Whether it is the same as inline code, which changes backticks and white space at the ends."""
    return bool(text) and units(text) <= _TITLE_LINE_MAX and not _NOT_INLINE.search(text)


def ask_text(ask: PermissionRequest, part: Shown, asker_id: str) -> str:
    """The message that carries the buttons: what it is about, who may answer, and until when.

    ``part`` is :func:`shown` of its action. It names the asker by mention: whether that pings is for the sender to say.
    2,000 UTF-16 code units at most.
    """
    what = f" {part.inline}" if part.inline else f"\n{part.block}"
    lines = [f"🔐 {part.question}{what}"]
    if part.title:
        lines.append(f"The agent calls it {code(part.title)}.")
    if ask.withheld is not None:
        lines.append(f"⚠️ It can't be allowed: {ask.withheld}.")
    else:
        if part.left_out:
            lines.append(f"The attached file has all of it ({part.left_out:,} more characters).")
        if any(option.kind == "allow_always" for option in ask.options):
            lines.append(ALWAYS)
    lines.append(waiting(asker_id, ask.expires_at))
    return "\n".join(lines)


def waiting(asker_id: str, expires_at: float) -> str:
    """Who may answer, and until when (Unix time)."""
    who = f"{mention(asker_id)} or an admin" if _ID.fullmatch(asker_id) else "an admin"
    return f"Waiting for {who}. Expires <t:{expires_at:.0f}:R>."


def end_text(ask: PermissionRequest, part: Shown, asker_id: str) -> str:
    """What the message says once the request has ended, in place of the buttons; what was shown stays."""
    return f"{_end_words(ask, asker_id)}:{f' {part.inline}' if part.inline else chr(10) + part.block}"


def _end_words(ask: PermissionRequest, asker_id: str) -> str:
    if ask.outcome == "expired":
        return "⌛ Timed out, so it wasn't run"
    if ask.reason is not None:
        return f"⏹️ {verb(ask.chosen)} {because(ask.reason)}"
    if ask.outcome != "selected":
        return "⏹️ No longer needed"
    by = ask.answered_by
    who = "an admin" if by is None else mention(by)
    kind = "" if ask.chosen is None else ask.chosen.kind
    if kind == "allow_always" and by is None:
        return f"✅ Allowed by {who}"
    if kind == "allow_always" and by != asker_id:
        return f"✅ Allowed by {who}, whose Always covers only their own messages"
    if kind in _ENDS:
        return f"{_ENDS[kind]} by {who}"
    name = "" if ask.chosen is None else one_line(ask.chosen.name, _LABEL_MAX)
    return f"❔ Answered{f' {code(name)}' if name else ''} by {who}"


def lost_text(ask: PermissionRequest) -> str:
    """What the message says after a restart of the daemon, in place of the buttons."""
    return f"⏹️ I was restarted, so this is no longer needed: {code(ask.line, _TITLE_LINE_MAX)}"


def unasked(ask: PermissionRequest) -> str:
    """What the thread gets where Discord has refused the message with the buttons."""
    return f"❌ I couldn't ask for this permission here, so it was rejected: {code(ask.line, _TITLE_LINE_MAX)}"


def not_yours(*people: str | None) -> str:
    """Answer to somebody who may not answer this request: only these people (ids, perhaps unknown) and admins may."""
    named = [mention(one) for one in dict.fromkeys(people) if one is not None and _ID.fullmatch(one)]
    people_or = f"{', '.join(named)} or " if named else ""
    return f"Only {people_or}an admin of the bot can answer this one."


def answered_already(outcome: PermissionOutcome, answered_by: str | None = None) -> str:
    """Answer to a click that came second."""
    if outcome == "expired":
        return "Too late: this request timed out."
    if outcome == "cancelled":
        return "This request is no longer needed."
    who = f" by {mention(answered_by)}" if answered_by is not None else ""
    return f"This was already answered{who}."


def mention(user_id: str) -> str:
    """A person, by their id."""
    return f"<@{user_id}>"


def _end(text: str, limit: int) -> str:
    """The text, or an ellipsis and its end where it has more than ``limit`` UTF-16 code units."""
    if units(text) <= limit:
        return text
    kept = text[-(limit - 1) :]
    while units(kept) > limit - 1:
        kept = kept[max(1, (units(kept) - limit + 2) // 2) :]
    start = next((at for at in range(len(text) - len(kept), len(text)) if can_break(text, at)), len(text))
    return f"…{text[start:]}"
