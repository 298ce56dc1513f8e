"""Other people's text, made safe to show: sizes, cuts, one line, no control characters. Pure.

Sizes are UTF-16 code units, never less than what a chat platform may count, unless a function says characters.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

HIDDEN: Final = "***"
_JOINERS: Final = "\u200c\u200d"
_CLUSTER_MAX: Final = 64
_TOKEN_LIKE: Final = re.compile(r"[\w-]{20,}\.[\w-]{5,}\.[\w-]{20,}")
# C0, DEL, C1, and what separates lines or turns text around: such a character would let a line pretend to be another.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# CSI, OSC, the other strings (DCS, SOS, PM, APC), then escapes of two and three bytes (ECMA-48, section 5).
_ESCAPE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~]?)"
)


def units(text: str) -> int:
    """The size of a text in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def can_break(text: str, at: int) -> bool:
    """Whether two characters as people see them meet between ``text[at - 1]`` and ``text[at]``.

    An approximation of UAX 29 (extended grapheme clusters) that errs on the side of not breaking. Runs of fence
    characters are not broken either.
    """
    before, after = text[at - 1], text[at]
    if before == after and before in "`~":
        return False
    if before == "\r" and after == "\n":
        return False
    if after.isascii():
        return True
    if before in _JOINERS or _extends(after):
        return False
    if "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff":
        return False
    if _is_flag_half(before) and _is_flag_half(after):
        start = at
        while start > 0 and _is_flag_half(text[start - 1]):
            start -= 1
        return (at - start) % 2 == 0
    return True


def _extends(character: str) -> bool:
    return (
        character in _JOINERS
        or unicodedata.category(character).startswith("M")
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= character <= "\U000e007f"  # tags
        or "\u1160" <= character <= "\u11ff"  # vowels and final consonants of Hangul syllables
    )


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def shorten(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis where it has more than ``limit`` UTF-16 code units.

    No character as people see it is split, such as an emoji of several parts.
    """
    if units(text) <= limit:
        return text
    kept = text[: max(limit - 1, 0)]
    while units(kept) > limit - 1 and kept:
        kept = kept[: len(kept) - max((units(kept) - limit + 2) // 2, 1)]
    whole = next((end for end in range(len(kept), max(len(kept) - _CLUSTER_MAX, 0), -1) if can_break(text, end)), None)
    return f"{kept if whole is None else kept[:whole]}…" if limit > 0 else ""


def one_line(text: str, limit: int) -> str:
    """The text on one line of at most ``limit`` UTF-16 code units, without characters that are invisible or unsafe.

    Control characters, zero-width, bidirectional and tag ones (Unicode categories Cc and Cf), private ones and lone
    surrogates go; the two joiners stay, since emoji and several scripts need them. Letters that are written from right
    to left stay.
    """
    # What comes after that can't be shown anyway, and a name may be of any length.
    head = text if len(text) <= limit * 4 + 256 else text[: limit * 4 + 256]
    spaced = " ".join(head.split())
    return shorten(" ".join("".join(filter(_visible, spaced)).strip(_JOINERS).split()), limit)


def _visible(char: str) -> bool:
    # Not Cn: an emoji newer than Python's tables is unassigned to it.
    return char in _JOINERS or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co"}


def is_blank(text: str) -> bool:
    """Whether nothing of it can be seen: white space, control, zero-width and bidirectional characters at most."""
    for character in text:
        if not character.isspace() and unicodedata.category(character) not in {"Cc", "Cf"}:
            return False
    return True


def printable(text: str) -> str:
    """The text with a space in place of each line break and control character."""
    return _UNPRINTABLE.sub(" ", text)


def terminal_text(text: str) -> str:
    """The text without terminal escape sequences (ECMA-48) and control characters; tabs become spaces."""
    return _UNPRINTABLE.sub("", _ESCAPE.sub("", text).replace("\t", " "))


def cut(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis where it has more than ``limit`` characters."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def split_bytes(text: str, most: int) -> list[str]:
    """The text in parts of at most ``most`` bytes of UTF-8 each (4 at least)."""
    if len(text) * 4 <= most:
        return [text]
    parts: list[str] = []
    data = text.encode()
    start = 0
    while start < len(data):
        end = min(start + most, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # noqa: PLR2004 - a continuation byte of UTF-8
            end -= 1
        parts.append(data[start:end].decode())
        start = end
    return parts


def size_words(size: int) -> str:
    """A size for people: ``512 bytes``, ``8 MiB``, ``30.1 MiB``."""
    if size < 1024:  # noqa: PLR2004 - a KiB
        return f"{size} byte{'s' * (size != 1)}"
    value, unit = (size / 1024, "KiB") if size < 1024**2 else (size / 1024**2, "MiB")
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def operator_line(text: str) -> str:
    """One line for an operator, without line breaks, control characters and what looks like a Discord token."""
    hidden = _TOKEN_LIKE.sub(HIDDEN, text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in hidden)
