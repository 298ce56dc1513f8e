"""Text for a terminal: made safe to print, put on one line, cut to a width."""

from __future__ import annotations

import json
import re
from typing import Final

# ECMA-48: CSI, OSC, the other strings, two-character escapes. Agents colour their logs; we drop the colours. A string
# without an end is shown: to drop it would hide the rest of the text.
_ESCAPE_SEQUENCES: Final = (
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[PX^_][^\x1b\n]*\x1b\\|[ -/]*[0-OQ-WYZ\\`-~])"
)
# DEL, C1, zero-width and bidirectional controls, line separators, tags, surrogates: a terminal acts on them, and JSON
# lets them through. Joiners, variation selectors and the tags of flags are below: emoji and some scripts need them.
_UNSAFE_IN_JSON: Final = (
    "\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff0-\ufffb\U000e0000-\U000e00ff\U000e01f0-\U000e0fff\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
)
# A black flag, tags and their end: England, Scotland, Wales (UTS 51, section 3.3).
_FLAG: Final = "\U0001f3f4[\U000e0061-\U000e007a]{2}[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,3}\U000e007f"
# Joiners that join nothing (RFC 5892, appendix A.1 and A.2, and emoji), and selectors after a selector.
_SCRIPTS: Final = (
    "\u0590-\u109f\u1700-\u1cff\ua800-\uabff\ufb1d-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc"
    "\U00010a00-\U00011fff\U0001e900-\U0001e95f"
)
_EMOJI: Final = "\xa9\xae\u203c-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001fbff"
_SELECTORS: Final = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_NOT_JOINING: Final = (
    f"(?<=[{_SELECTORS}])[{_SELECTORS}]|\u034f(?![\u0300-\u036f\u0591-\u05c7])"
    f"|[\u200c\u200d](?!(?<=[{_SCRIPTS}].)(?:[\\w{_SCRIPTS}]|(?<=[\u094d\u09cd\u0d4d\u0dca].)(?![\u200c\u200d])))"
    f"(?!(?<=\\w.)[{_SCRIPTS}])(?!(?<=[{_EMOJI}\ufe0f].)[{_EMOJI}])"
)
_UNSAFE: Final = f"[\x00-\x1f{_UNSAFE_IN_JSON}]"
_OUR_SYMBOLS: Final = "●○…"  # most tables have no other character that needs unicodedata
_WIDE: Final = "WF"
_NO_WIDTH: Final = frozenset({"Mn", "Me", "Cf"})
_EMOJI_STYLE: Final = "\ufe0f"


def clean(value: object) -> str:
    """``value`` as one line that is safe to print: without escape sequences, other unsafe characters escaped."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    if text.isascii() and text.isprintable():
        return text
    text = re.sub(_ESCAPE_SEQUENCES, "", text).strip("\r\n")
    return _escape_unsafe(re.sub(r"\s*[\r\n]\s*|\t", " ", text))


def clean_lines(value: object) -> str:
    """The same for text of several lines: newlines stay, tabs become spaces; empty where ``value`` is no text."""
    text = value if isinstance(value, str) else ""
    if text.isascii() and text.isprintable():
        return text
    lines = re.sub(_ESCAPE_SEQUENCES, "", text).replace("\r\n", "\n").split("\n")
    return "\n".join(_escape_unsafe(line.expandtabs(4).rstrip("\r")) for line in lines)


def clean_cell(value: object) -> str:
    """``value`` for a piped table: one line without runs of spaces, ``-`` where it is empty."""
    return " ".join(clean(value).split()) or "-"


def escape_json(text: str) -> str:
    """JSON ``text`` in which no character acts on a terminal; it decodes to the same value."""
    if text.isascii() and "\x7f" not in text:
        return text
    text = re.sub(f"({_FLAG})|[{_UNSAFE_IN_JSON}]", lambda found: found[1] or _json_escape(found), text)
    return re.sub(_NOT_JOINING, _json_escape, text)


def _json_escape(found: re.Match[str]) -> str:
    # json.dumps escapes all of them but DEL.
    return json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f")


def _escape_unsafe(line: str) -> str:
    line = re.sub(f"({_FLAG})|{_UNSAFE}", lambda found: found[1] or _escape(found), line)
    return line if line.isascii() else re.sub(_NOT_JOINING, _escape, line)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number <= 0xFF:  # noqa: PLR2004 - the range that two hexadecimal digits name
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 - the same with four


def width(text: str) -> int:
    """How many terminal columns ``text`` takes (Unicode Standard Annex 11)."""
    return len(text) if text.isascii() else sum(_char_width(text, index) for index in range(len(text)))


def exceeds(text: str, columns: int) -> bool:
    """Whether ``text`` takes more than ``columns``; measures no more of it than necessary."""
    return len(prefix(text, columns)) < len(text)


def wrap(line: str, columns: int, indent: str = "") -> list[str]:
    """``line`` in lines of at most ``columns``, broken at spaces; ``indent`` begins each but the first.

    Its own leading spaces stay, and begin the other lines too. A word that is longer than a line stays whole: it may be
    a path or a command to copy.
    """
    if not exceeds(line, columns):
        return [line]
    start = line[: len(line) - len(line.lstrip(" "))]
    lines, current, taken = [], start, len(start)
    for word in line[len(start) :].split(" "):
        size = width(word)
        if current.strip(" ") and taken + 1 + size > columns:
            lines.append(current)
            current, taken = start + indent, len(start) + len(indent)
        elif current.strip(" "):
            current, taken = f"{current} ", taken + 1
        current, taken = current + word, taken + size
    return [*lines, current]


def truncate(text: str, columns: int) -> str:
    """``text`` in at most ``columns``; an ellipsis replaces the end that does not fit."""
    if not exceeds(text, columns):
        return text
    return prefix(text, columns - 1).rstrip() + "…" if columns > 0 else ""


def truncate_start(text: str, columns: int) -> str:
    """``text`` in at most ``columns``; an ellipsis replaces the start that does not fit, as suits a path."""
    if not exceeds(text, columns):
        return text
    start, left = len(text), columns - 1
    while start > 0 and (left := left - _char_width(text, start - 1)) >= 0:
        start -= 1
    slash = text.find("/", start)
    if slash >= 0 and slash - start <= columns // 3:
        start = slash
    return "…" + text[start:] if columns > 0 else ""


def prefix(text: str, columns: int) -> str:
    """The longest prefix of ``text`` that takes at most ``columns``."""
    if text.isascii():
        return text[: max(0, columns)]
    left = columns
    for index in range(len(text)):
        left -= _char_width(text, index)
        if left < 0:
            return text[:index]
    return text


def _char_width(text: str, index: int) -> int:
    """The columns of the character at ``index``: 2 where the emoji variation selector follows it."""
    character = text[index]
    if character.isascii() or character in _OUR_SYMBOLS:
        return 1
    import unicodedata  # noqa: PLC0415 - a megabyte that most output does not need

    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    emoji = text[index + 1 : index + 2] == _EMOJI_STYLE
    return 2 if emoji or unicodedata.east_asian_width(character) in _WIDE else 1


def abbreviate_home(path: str, home: str) -> str:
    """``path`` with ``~`` for the folder ``home``; an empty ``home`` changes nothing."""
    home = home.rstrip("/")
    if home and (path == home or path.startswith(home + "/")):
        return "~" + path[len(home) :]
    return path
