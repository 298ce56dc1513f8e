"""Every sentence around a question of an agent in Discord. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpbot.acp.elicitation import URL_MOST
from acpbot.acp.form_values import hint
from acpbot.chat.discord.interactions.buttons import mention, waiting
from acpbot.chat.discord.interactions.question_parts import as_choice, has_menu
from acpbot.chat.rendering.markdown import code, plain
from acpbot.text import one_line, shorten, units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acpbot.acp.elicitation import Field, Value
    from acpbot.chat.discord.interactions.question_parts import Layout
    from acpbot.sessions.questions import Question

_TEXT_MOST: Final = 1900
_MESSAGE_MOST: Final = 900
_MESSAGE_OF_END: Final = 300
_LABEL_MOST: Final = 100
_ABOUT_MOST: Final = 300
_VALUE_MOST: Final = 100
_LISTED_MOST: Final = 30

_ASKS: Final = "❓ **The agent asks:**"

_HIDDEN: Final = "(not shown here)"

BY_WINDOW: Final = "Please use the button, so that nobody else can read this. Delete your message if it holds a secret."
"""Answer to a written reply to a question for a secret."""
NOTHING_TYPED: Final = "Type an answer, or press one of the buttons."
NOT_OFFERED: Final = "The agent doesn't offer this answer."


def ask_text(question: Question, layout: Layout, values: Mapping[int, Value], page: int, asker_id: str) -> str:
    """The message that carries the buttons: what is asked, what was filled in so far, and who may answer."""
    form = question.form
    lines: list[str] = []
    match layout.shape:
        case "decline":
            lines.append(f"⚠️ It can't be answered here: {form.unusable}. You can only decline it.")
        case "address":
            lines.append(f"It asks you to open a page at {code(form.host, 260)}:\n{code(form.url, URL_MOST)}")
            lines.append("Open it only if you trust this address. Press **Done** once you've finished there.")
        case _:
            if len(layout.pages) > 1:
                lines.append(f"Page {page + 1} of {len(layout.pages)}")
            for number in layout.pages[page]:
                lines += _field_lines(form.fields[number], values.get(number), alone=layout.single == number)
    last = waiting(asker_id, question.expires_at)
    shown = _quoted(form.message, _MESSAGE_MOST)
    if layout.shape == "address":  # all of it must be seen
        shown = shorten(shown, _TEXT_MOST - units("\n".join([_ASKS, *lines, last])) - len(lines))
    return _fitting([f"{_ASKS}\n{shown}", *lines], last)


def _field_lines(field: Field, value: Value | None, *, alone: bool) -> list[str]:
    about = " · ".join(part for part in (one_line(field.description, _ABOUT_MOST), hint(field)) if part)
    label = plain(one_line(field.label, _LABEL_MOST))
    needed = " (required)" if field.required and not alone else ""
    lines = [f"**{label}**{needed}{f': {plain(about)}' if about else ''}"]
    if field.pattern:
        lines.append(f"It has to match this pattern: {code(field.pattern, _VALUE_MOST)}")
    if alone:
        lines += [_choice_line(choice.label, choice.description) for choice in field.choices if choice.description]
    elif not has_menu(field):
        lines += [f"{number}. {plain(choice.label)}" for number, choice in enumerate(field.choices, 1)][:_LISTED_MOST]
        if len(field.choices) > _LISTED_MOST:
            lines.append(f"… and {len(field.choices) - _LISTED_MOST} more. Type one of them, or its number.")
        if value is not None:
            lines.append(f"✏️ {_value_text(field, value)}")
    return lines


def _choice_line(label: str, description: str) -> str:
    return f"▫️ {plain(one_line(label, _LABEL_MOST))}: {plain(one_line(description, _ABOUT_MOST))}"


def _value_text(field: Field, value: Value | Any) -> str:
    if field.secret:
        return _HIDDEN
    labels = {choice.value: choice.label for choice in field.choices}
    values = value if isinstance(value, list) else [value]
    return code(", ".join(labels.get(as_choice(one), as_choice(one)) for one in values), _VALUE_MOST)


def _quoted(text: str, most: int) -> str:
    """An agent's text as a quotation, without any effect of its markup."""
    lines = [plain(line) for line in shorten(text, most).split("\n")]
    return shorten("\n".join(f"> {line}" for line in lines), 2 * most) if text else "> (It doesn't say what.)"


def _fitting(lines: list[str], last: str) -> str:
    """As many of the lines as fit into a message, and the last one."""
    kept: list[str] = []
    room = _TEXT_MOST - units(last)
    for number, line in enumerate(lines):
        room -= units(line) + 1
        if room < 0:
            kept.append(f"… {len(lines) - number} more lines don't fit here.")
            break
        kept.append(line)
    return "\n".join([*kept, last])


def end_text(question: Question) -> str:
    """What the message says once the question needs no answer, in place of the buttons."""
    lines = [f"{_end_words(question)}\n{_quoted(question.form.message, _MESSAGE_OF_END)}"]
    by_name = {field.name: field for field in question.form.fields}
    for name, value in question.content.items():
        label = plain(one_line(by_name[name].label, _LABEL_MOST))
        lines.append(f"**{label}**: {_value_text(by_name[name], value)}")
    return _fitting(lines, "").rstrip()


def _end_words(question: Question) -> str:
    by = "an admin" if question.answered_by is None else mention(question.answered_by)
    match question.outcome:
        case "accepted":
            return f"✅ Marked as done by {by}:" if question.form.mode == "url" else f"✅ Answered by {by}:"
        case "declined":
            return f"❌ Declined by {by}:"
        case "expired":
            return "⌛ Timed out:"
        case "completed":
            return "✅ The agent reports this is done:"
    if question.reason == "policy":
        return "⏹️ Cancelled by policy:"
    return "⏹️ No longer needed:"


def lost_text(question: Question) -> str:
    """What the message says after a restart of the daemon, in place of the buttons."""
    return f"⏹️ I was restarted, so this question is no longer needed: {code(question.line)}"


def unasked(question: Question) -> str:
    """What the thread gets where Discord has refused the message with the buttons."""
    return f"❌ I couldn't show the agent's question here, so it was cancelled: {code(question.line)}"


def answered_already(question: Question) -> str:
    """Answer to a click that came second."""
    if question.outcome == "expired":
        return "Too late: this question timed out."
    if question.outcome in {"accepted", "declined"}:
        by = "" if question.answered_by is None else f" by {mention(question.answered_by)}"
        return f"This was already answered{by}."
    return "This question is no longer needed."


def wrong(label: str, why: str) -> str:
    """Answer to a value that does not fit; the question stays open."""
    return f"**{plain(one_line(label, _LABEL_MOST))}**: {plain(why)}. Please try again."
