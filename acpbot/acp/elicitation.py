"""What an agent asks people: the parameters of ``elicitation/create``, each bounded and cleaned when decoded. Pure.

What goes back to the agent, such as the names of fields and the values of choices, stays as it is. A pattern of the
agent's is never run: a short one may take hours.
Source: https://agentclientprotocol.com/protocol/elicitation.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from acpbot.text import clean, one_line

FIELDS_MOST: Final = 25
CHOICES_MOST: Final = 200
"""Of one field."""
BYTES_MOST: Final = 256 * 1024
"""Of the parameters of a request that is read whole."""
NUMBER_MOST: Final = 2**63 - 1
"""The largest integer that the protocol has."""
MESSAGE_MOST: Final = 4000
TITLE_MOST: Final = 200
DESCRIPTION_MOST: Final = 1000
TEXT_MOST: Final = 4000
"""Characters of a default value, and of the value of a choice."""
NAME_MOST: Final = 256
URL_MOST: Final = 1400
"""An address is shown whole, in one message."""
_CONTAINERS_MOST: Final = 8000  # a byte of JSON may become 30 bytes of memory
_PATTERN_MOST: Final = 200
_FORMATS: Final = frozenset({"email", "uri", "date", "date-time"})

Kind = Literal["text", "number", "integer", "boolean", "choice", "choices"]
Value = str | int | float | bool | list[str]

# The characters of RFC 3986. Browsers and libraries disagree about what others mean, and so about the host.
_URL: Final = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+", re.IGNORECASE)

TOO_LARGE: Final = "its form is too large"
NO_FORM: Final = "its form is of a kind that I don't know"


class Choice(msgspec.Struct, frozen=True):
    """``value`` goes back to the agent, ``label`` is what people read."""

    value: str
    label: str
    description: str = ""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to fill in. ``name`` is the agent's, ``label`` what people read.

    ``least`` and ``most`` bound a number, the characters of a text, or how many are chosen. ``format``: ``email``,
    ``uri``, ``date``, ``date-time`` or empty. ``pattern`` is only shown. ``choices``: of a choice, choices, and a
    boolean. ``default`` is a value of the kind. ``secret``: the answer is not shown to others.
    """

    name: str
    label: str
    kind: Kind
    description: str = ""
    required: bool = False
    least: float | None = None
    most: float | None = None
    format: str = ""
    pattern: str = ""
    choices: tuple[Choice, ...] = ()
    default: Value | None = None
    secret: bool = False


class Elicitation(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``fields`` are those of a form; ``url`` and ``host`` those of an address to open, else empty.

    ``unusable``: why nobody can accept it here, as a clause for people, else ``None``. ``elicitation_id``: by which the
    agent says that what happens at the address is done.
    """

    message: str
    mode: Literal["form", "url", "other"] = "other"
    fields: tuple[Field, ...] = ()
    url: str = ""
    host: str = ""
    elicitation_id: str = ""
    unusable: str | None = None


class _Params(msgspec.Struct, frozen=True, rename="camel"):
    message: str
    mode: str
    session_id: Any = None
    request_id: Any = None
    elicitation_id: Any = None
    url: Any = None
    requested_schema: msgspec.Raw = msgspec.Raw(b"null")


class _Completed(msgspec.Struct, frozen=True, rename="camel"):
    elicitation_id: str


class _UnusableError(Exception):
    """The form can't be shown; the text is a clause for people."""


_decode_params: Final = msgspec.json.Decoder(_Params).decode
_decode_completed: Final = msgspec.json.Decoder(_Completed).decode


def decode(params: msgspec.Raw) -> Elicitation:
    """The parameters of ``elicitation/create``. Raises msgspec.MsgspecError, UnicodeDecodeError, RecursionError."""
    data = bytes(params)
    large = len(data) > BYTES_MOST or data.count(b"{") + data.count(b"[") > _CONTAINERS_MOST
    found = _decode_params(data)
    made = Elicitation(message=_text(found.message, MESSAGE_MOST))
    replace = msgspec.structs.replace
    if found.mode == "url":
        made = replace(made, mode="url")
        host = None if large else host_of(found.url)
        identity = found.elicitation_id
        if host is None or not isinstance(identity, str) or not 0 < len(identity) <= NAME_MOST:
            return replace(made, unusable="I can't show its address safely")
        return replace(made, url=found.url, host=host, elicitation_id=identity)
    if found.mode != "form":
        return replace(made, unusable="it's of a kind that I don't know")
    made = replace(made, mode="form")
    if large:
        return replace(made, unusable=TOO_LARGE)
    try:
        return replace(made, fields=_fields(msgspec.json.decode(found.requested_schema)))
    except _UnusableError as error:
        return replace(made, unusable=str(error))


def completed(params: msgspec.Raw) -> str:
    """The id in the parameters of ``elicitation/complete``. Raises as :func:`decode`."""
    return _decode_completed(params).elicitation_id


def host_of(url: Any) -> str | None:
    """The host of an address that people may be shown; ``None`` for all others.

    An address with a user name is not shown: ``https://good.example@bad.example`` is at ``bad.example``.
    """
    if not isinstance(url, str) or len(url) > URL_MOST or not _URL.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError where it is none
    except ValueError:
        return None
    return None if "@" in parts.netloc or "%" in parts.netloc else parts.hostname


def _fields(schema: Any) -> tuple[Field, ...]:
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise _UnusableError(NO_FORM)
    properties = schema.get("properties")
    required = schema.get("required")
    if properties is None:
        return ()
    if not isinstance(properties, dict) or not isinstance(required, list | None):
        raise _UnusableError(NO_FORM)
    if len(properties) > FIELDS_MOST:
        raise _UnusableError(f"its form has {len(properties):,} fields, more than the {FIELDS_MOST} that I can show")
    needed = {name for name in required or () if isinstance(name, str)}
    return tuple(_field(name, one, required=name in needed) for name, one in properties.items())


def _field(name: str, schema: Any, *, required: bool) -> Field:
    if not isinstance(schema, dict):
        raise _UnusableError(NO_FORM)
    if len(name) > NAME_MOST:
        raise _UnusableError(TOO_LARGE)
    kind = schema.get("type")
    label = one_line(_string(schema, "title"), TITLE_MOST) or one_line(name, TITLE_MOST) or "Answer"
    made = Field(
        name=name,
        label=label,
        kind="text",
        description=_text(_string(schema, "description"), DESCRIPTION_MOST),
        required=required,
        secret=_is_secret(schema),
    )
    replace, default = msgspec.structs.replace, schema.get("default")
    match kind:
        case "string" if schema.get("enum") is not None or schema.get("oneOf") is not None:
            choices = _choices(schema, "oneOf")
            known = any(choice.value == default for choice in choices)
            return replace(made, kind="choice", choices=choices, default=default if known else None)
        case "string":
            shape = _string(schema, "format")
            return replace(
                made,
                least=_bound(schema, "minLength"),
                most=_bound(schema, "maxLength"),
                format=shape if shape in _FORMATS else "",
                pattern=one_line(_string(schema, "pattern"), _PATTERN_MOST),
                default=_text(default, TEXT_MOST) if isinstance(default, str) else None,
            )
        case "number" | "integer":
            number = replace(made, kind=kind, least=_bound(schema, "minimum"), most=_bound(schema, "maximum"))
            return replace(number, default=_number(default, whole=kind == "integer"))
        case "boolean":
            choices = (Choice("true", "Yes"), Choice("false", "No"))
            is_known = isinstance(default, bool)
            return replace(made, kind="boolean", choices=choices, default=default if is_known else None)
        case "array":
            items = schema.get("items")
            if not isinstance(items, dict) or items.get("type", "string") != "string":
                raise _UnusableError(NO_FORM)
            choices = _choices(items, "anyOf")
            values = {choice.value for choice in choices}
            chosen = default if isinstance(default, list) else []
            kept = [value for value in chosen[:CHOICES_MOST] if isinstance(value, str) and value in values]
            return replace(
                made,
                kind="choices",
                choices=choices,
                least=_bound(schema, "minItems"),
                most=_bound(schema, "maxItems"),
                default=list(dict.fromkeys(kept)) or None,
            )
    raise _UnusableError(NO_FORM)


def _choices(schema: dict[str, Any], titled: str) -> tuple[Choice, ...]:
    """The choices: ``enum`` has values alone, the member ``titled`` values with titles."""
    listed = schema.get(titled)
    items = _named(schema) if listed is None else listed
    if not isinstance(items, list) or not items:
        raise _UnusableError(NO_FORM)
    if len(items) > CHOICES_MOST:
        too_many = f"{len(items):,} choices, more than the {CHOICES_MOST} that I can show"
        raise _UnusableError(f"one of its fields has {too_many}")
    found: dict[str, Choice] = {}
    for item in items:
        described = {"const": item} if isinstance(item, str) else item
        value = described.get("const") if isinstance(described, dict) else None
        if not isinstance(value, str):
            raise _UnusableError(NO_FORM)
        if len(value) > TEXT_MOST:
            raise _UnusableError(TOO_LARGE)
        label = one_line(_string(described, "title"), TITLE_MOST) or one_line(value, TITLE_MOST) or "(empty)"
        described_as = one_line(_string(described, "description"), DESCRIPTION_MOST)
        found.setdefault(value, Choice(value, label, described_as))
    return tuple(found.values())


def _named(schema: dict[str, Any]) -> Any:
    """The values of ``enum``, with the titles of ``enumNames``: servers of MCP have those (MCP, elicitation)."""
    values, names = schema.get("enum"), schema.get("enumNames")
    if not isinstance(values, list) or not isinstance(names, list) or len(names) != len(values):
        return values
    return [{"const": value, "title": name} for value, name in zip(values, names, strict=True)]


def _is_secret(schema: dict[str, Any]) -> bool:
    """Whether an agent says that the answer is a secret, as codex-acp does."""
    meta = schema.get("_meta")
    own = meta.get("codex") if isinstance(meta, dict) else None
    return isinstance(own, dict) and own.get("isSecret") is True


def _string(members: dict[str, Any], key: str) -> str:
    value = members.get(key)
    return value if isinstance(value, str) else ""


def _text(text: str, most: int) -> str:
    text = clean(text[: 2 * most]).strip()
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _bound(schema: dict[str, Any], key: str) -> float | None:
    return _number(schema.get(key), whole=False)


def _number(value: Any, *, whole: bool) -> float | None:
    """A number that can be compared with every other one; else ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > NUMBER_MOST:
        return None
    if not math.isfinite(value) or (whole and value != int(value)):
        return None
    return int(value) if whole else value
