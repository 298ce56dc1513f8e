"""The values of a form that an agent has asked people to fill in: read from what they type, and checked. Pure.

Source: https://agentclientprotocol.com/protocol/elicitation.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from acpbot.acp.elicitation import NUMBER_MOST
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acpbot.acp.elicitation import Field, Value

LONGEST: Final = 16_384
"""Characters of a text that somebody answers with."""
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_WORDS: Final = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
_UNITS: Final = {"text": "character", "choices": "choice"}
_NEEDS: Final = {
    "text": "it must be text",
    "integer": "it must be a whole number",
    "number": "it must be a number",
    "boolean": "it must be yes or no",
    "choice": "it must be one of the choices",
    "choices": "it must be a list of choices",
}
_TYPES: Final[dict[str, Any]] = {
    "text": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "choice": str,
    "choices": list,
}
_NUMBER_OF_CHOICE: Final = re.compile(r"[1-9][0-9]{0,3}")
_FORMATS: Final = {
    "email": "an e-mail address",
    "uri": "an address with its scheme, such as https://example.com",
    "date": "a date, such as 2026-01-31",
    "date-time": "a date and time with its zone, such as 2026-01-31T08:00:00Z",
}


class WrongAnswerError(Exception):
    """``field`` can't have this value; ``why`` is a clause for people: 'it must have at least 3 characters'."""

    def __init__(self, field: Field, why: str) -> None:
        super().__init__(f"{field.label}: {why}")
        self.field = field
        self.why = why


def hint(field: Field) -> str:
    """What may be filled in, as a short phrase: 'a whole number, 1 to 5'; empty where anything may."""
    parts: list[str] = []
    if field.kind in {"number", "integer"}:
        parts.append("a whole number" if field.kind == "integer" else "a number")
    elif field.format:
        parts.append(_FORMATS[field.format])
    if field.least and field.most is not None:
        parts.append(f"{field.least:,.15g} to {_count(field, field.most)}")
    elif field.least:
        parts.append(f"at least {_count(field, field.least)}")
    elif field.most is not None:
        parts.append(f"at most {_count(field, field.most)}")
    return ", ".join(parts)


def _verb(field: Field) -> str:
    return "have" if field.kind in _UNITS else "be"


def _count(field: Field, number: float) -> str:
    unit = _UNITS.get(field.kind, "")
    return f"{number:,.15g}{f' {unit}' if unit else ''}{'s' if unit and number != 1 else ''}"


def read(field: Field, text: str) -> Value | None:
    """The value that somebody has typed; ``None`` where they typed nothing. Raises WrongAnswerError."""
    text = text.strip()
    if not text:
        return None
    value = _READERS.get(field.kind, _same)(field, text)
    check(field, value)
    return value


def _same(_field: Field, text: str) -> Value:
    return text


def _read_number(field: Field, text: str) -> Value:
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        raise WrongAnswerError(field, _NEEDS[field.kind]) from None


def _read_boolean(field: Field, text: str) -> Value:
    if text.lower() not in _WORDS:
        raise WrongAnswerError(field, _NEEDS["boolean"])
    return _WORDS[text.lower()]


def _read_choices(field: Field, text: str) -> Value:
    parts = [text] if _match(field, text) is not None else [part for part in text.split(",") if part.strip()]
    return list(dict.fromkeys(_chosen(field, part) for part in parts))


def _chosen(field: Field, text: str) -> str:
    value = _match(field, text.strip())
    if value is None:
        raise WrongAnswerError(field, f"{one_line(text, 80)!r} isn't one of the choices")
    return value


def _match(field: Field, text: str) -> str | None:
    """The value of the choice with this label, value or number (from 1)."""
    for choice in field.choices:
        if text in {choice.value, choice.label}:
            return choice.value
    folded = [choice.value for choice in field.choices if choice.label.casefold() == text.casefold()]
    if len(folded) == 1:
        return folded[0]
    if _NUMBER_OF_CHOICE.fullmatch(text) and int(text) <= len(field.choices):
        return field.choices[int(text) - 1].value
    return None


_READERS: Final = {
    "integer": _read_number,
    "number": _read_number,
    "boolean": _read_boolean,
    "choice": _chosen,
    "choices": _read_choices,
}


def check(field: Field, value: Any) -> None:
    """Raise WrongAnswerError where the field can't have this value."""
    if not _is_of_kind(field, value):
        raise WrongAnswerError(field, _NEEDS[field.kind])
    size: float | None = None
    match field.kind:
        case "text":
            size = len(value)
            _check_text(field, value)
        case "integer" | "number":
            size = value
            if not math.isfinite(value) or (isinstance(value, int) and abs(value) > NUMBER_MOST):
                raise WrongAnswerError(field, "this number is too large")
        case "choice":
            _check_choice(field, value)
        case "choices":
            size = len(value)
            _check_choices(field, value)
    if size is not None:
        _check_size(field, size)


def _is_of_kind(field: Field, value: Any) -> bool:
    if isinstance(value, bool):
        return field.kind == "boolean"
    return isinstance(value, _TYPES[field.kind])


def _check_size(field: Field, size: float) -> None:
    if field.least is not None and size < field.least:
        raise WrongAnswerError(field, f"it must {_verb(field)} at least {_count(field, field.least)}")
    if field.most is not None and size > field.most:
        raise WrongAnswerError(field, f"it must {_verb(field)} at most {_count(field, field.most)}")


def _check_text(field: Field, text: str) -> None:
    if len(text) > LONGEST:
        raise WrongAnswerError(field, f"it has more than {LONGEST:,} characters")
    if field.format and not _fits(field.format, text):
        raise WrongAnswerError(field, f"it must be {_FORMATS[field.format]}")


def _check_choices(field: Field, values: list[Any]) -> None:
    for one in values[: len(field.choices) + 1]:
        _check_choice(field, one)
    if len(values) > len(field.choices) or len(set(values)) != len(values):
        raise WrongAnswerError(field, "it names a choice twice")


def _check_choice(field: Field, value: Any) -> None:
    if not isinstance(value, str) or all(choice.value != value for choice in field.choices):
        raise WrongAnswerError(field, f"{one_line(str(value)[:400], 80)!r} isn't one of the choices")


def checked(fields: Sequence[Field], content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of an answer, in the order of the fields.

    Raises WrongAnswerError, and KeyError for a name that is no field's.
    """
    unknown = next((name for name in content if all(field.name != name for field in fields)), None)
    if unknown is not None:
        raise KeyError(unknown)
    made: dict[str, Any] = {}
    for field in fields:
        if field.name in content:
            check(field, content[field.name])
            made[field.name] = content[field.name]
        elif field.required:
            raise WrongAnswerError(field, "it needs an answer")
    return made


def _fits(shape: str, text: str) -> bool:
    """Whether a text is of the format, as far as a simple look tells: the agent knows it better."""
    try:
        match shape:
            case "email":
                return _EMAIL.fullmatch(text) is not None
            case "uri":
                return bool(urlsplit(text).scheme) and not any(character.isspace() for character in text)
            case "date":
                return _DATE.fullmatch(text) is not None and bool(dt.date.fromisoformat(text))
            case _:
                return _DATE_TIME.fullmatch(text) is not None and bool(
                    dt.datetime.fromisoformat(text.upper().replace(" ", "T"))
                )
    except ValueError:
        return False
