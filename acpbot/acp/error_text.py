"""What an agent's error answer says, in the agent's own sentence. Pure.

Many agents put a general text into ``message`` and the reason anywhere into ``data``, some as JSON inside a string.
Source: https://www.jsonrpc.org/specification#error_object, which leaves the form of ``data`` open.
"""

from __future__ import annotations

import json
import re
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA_MOST: Final = 300
"""Characters of what is quoted of ``data``."""
MESSAGE_MOST: Final = 600

_VALUES_MOST: Final = 500
_TEXT_MOST: Final = 64 * 1024
# Without underscores, in this order: the first ones are sentences, the last ones may be short names of an error.
_SENTENCES: Final = ("message", "msg", "errormessage", "errormsg", "errortext", "detail", "details", "errordescription")
_NAMES: Final = ("description", "reason", "error", "errors", "cause", "title")
_KEYS: Final = (*_SENTENCES, *_NAMES)
_DECODER: Final = json.JSONDecoder()
_OBJECT: Final = re.compile(r"\[?\{")
_STARTS_MOST: Final = 8
_STACK: Final = re.compile(r"\n\s+at \S.*", re.DOTALL)
_GENERAL: Final = re.compile(
    r"(?:(?:internal|unknown|unexpected|server)[ _]*)*(?:error|exception)?[.:!]?", re.IGNORECASE
)


class ErrorText(NamedTuple):
    """``said`` is what people read; ``core`` the part of it that names the reason, to compare with other texts."""

    said: str
    core: str


def error_text(message: str, data: Any = None) -> ErrorText:
    """What an error with this ``message`` and ``data`` says, on one line without control characters."""
    outer, inner = _without_json(message)
    outer = one_line(outer, MESSAGE_MOST)
    detail = _detail(data, outer)
    if not detail or _same(detail, outer):
        return ErrorText(outer or "it gives no reason", inner or outer)
    said = detail if _GENERAL.fullmatch(outer) else f"{outer.removesuffix('.').removesuffix(':')}: {detail}"
    return ErrorText(said, detail)


def repeats(text: str, core: str) -> bool:
    """Whether the agent has said in ``text`` what ``core`` says."""
    return bool(core) and _key(core) in _key(text[-_TEXT_MOST:])


def _detail(data: Any, message: str) -> str:
    """The first sentence in ``data`` that adds to ``message``, else the whole as JSON; empty where it adds nothing."""
    first = ""
    for found in _sentences(data):
        text = one_line(found, DATA_MOST)
        if text and not _same(text, message) and not _GENERAL.fullmatch(text):
            return text
        first = first or text
    if first or data is None or data in ({}, [], ""):
        return ""
    try:
        return one_line(json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=str), DATA_MOST)
    except (ValueError, RecursionError):  # nested without end
        return ""


def _sentences(data: Any) -> Iterator[str]:
    """The texts in ``data`` that look like a message, the outermost first; of 500 values at most."""
    waiting: deque[tuple[Any, bool]] = deque([(data, True)])
    for _ in range(_VALUES_MOST):
        if not waiting:
            return
        value, named = waiting.popleft()
        if isinstance(value, str):
            inside = _json_in(value)
            if inside is not None:
                waiting.appendleft((inside, True))
            elif named:
                text, core = _without_json(value)
                yield text if text.strip() else core
        elif isinstance(value, dict):
            members = {
                key.lower().replace("_", ""): member for key, member in reversed(value.items()) if isinstance(key, str)
            }
            texts = [(members[key], True) for key in _KEYS if isinstance(members.get(key), str)]
            nested = [(members[key], True) for key in _KEYS if isinstance(members.get(key), dict | list)]
            others = [(member, False) for key, member in reversed(members.items()) if key not in _KEYS]
            waiting.extendleft(reversed(texts))
            waiting.extend((*nested, *others))
        elif isinstance(value, list):
            waiting.extend((item, named) for item in value[:_VALUES_MOST])


def _json_in(text: str) -> Any:
    """The object, list or quoted text that a text consists of; ``None`` where it is no JSON."""
    text = text.strip()
    if text[:1] not in {"{", "[", '"'} or len(text) > _TEXT_MOST:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _without_json(text: str) -> tuple[str, str]:
    """A text in which JSON is replaced by the message in it, and that message (``400 {"error": ...}``).

    The stack of calls that JavaScript adds to an error goes.
    """
    text = _STACK.sub("", text[:_TEXT_MOST])
    for start in islice(_OBJECT.finditer(text), _STARTS_MOST):
        try:
            inside, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        core = next((found for found in _sentences(inside) if found.strip()), "")
        return (f"{text[: start.start()]}{core}{text[end:]}", one_line(core, DATA_MOST)) if core else (text, "")
    return text, ""


def _key(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".!… ")


def _same(detail: str, message: str) -> bool:
    return _key(detail) in _key(message)
