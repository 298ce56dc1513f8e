"""Other people's text, made safe to show: sizes, cuts, one line, no control characters. Pure.

Sizes are UTF-16 code units, never less than what a chat platform may count, unless a function says characters.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Final

HIDDEN: Final = "***"
_JOINERS: Final = "\u200c\u200d"
_CLUSTER_MAX: Final = 64
_TOKEN_LIKE: Final = re.compile(r"[\w-]{20,}\.[\w-]{5,}\.[\w-]{20,}")
# CSI, OSC, the other strings (DCS, SOS, PM, APC), then escapes of two and three bytes (ECMA-48, section 5). A string
# without an end is not removed with what follows it: that would hide the rest of the line.
_ESCAPE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]*(?:\x1b\\|\x9c)|\x1b(?:[]PX^_]|[ -/]*[0-~]?)"
)
_LINE_BREAKS: Final = re.compile("\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
# Each of these changes how its neighbours are shown, or can't be seen: C0 but tab and line feed, DEL, C1, soft hyphen,
# bidirectional controls, zero-width and other invisible ones, halves of surrogate pairs, characters that never exist.
# What Unicode calls a format character but people can see (the Arabic number signs) is not here.
_BIDI: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_INVISIBLE: Final = (
    "\xad\u17b4\u17b5\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
_BROKEN: Final = "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
_SELECTORS: Final = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_UNSAFE: Final = f"\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}{_INVISIBLE}{_BROKEN}"
_SUSPECT: Final = re.compile(f"[{_UNSAFE}{_JOINERS}\u034f{_SELECTORS}]")
_CONTROL: Final = re.compile("[\n\t]")
_SUSPECT_ASCII: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
# The flags of England, Scotland and Wales are a black flag, tags, and a tag that ends them (UTS 51, section 3.3).
_REMOVED: Final = re.compile(
    f"(\U0001f3f4[\U000e0061-\U000e007a]{{2}}[\U000e0030-\U000e0039\U000e0061-\U000e007a]{{1,3}}\U000e007f)|[{_UNSAFE}]"
)
# What may be unprintable, but for joiners and the tags of flags: those that are left belong to what people see.
_UNPRINTABLE: Final = re.compile(f"[^ -~{_JOINERS}\U000e0020-\U000e007f]")
# One selector after a character chooses its form; more of them can only hide something. The grapheme joiner has a
# meaning before a combining mark.
_EXTRA: Final = re.compile(f"(?<=[{_SELECTORS}])[{_SELECTORS}]+|\u034f(?![\u0300-\u036f\u0591-\u05c7])")
# The scripts in which a joiner changes the form of letters: from Hebrew to Myanmar, Mongolian and others of Asia.
_SCRIPTS: Final = (
    "\u0590-\u109f\u1700-\u1cff\ua800-\uabff\ufb1d-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc"
    "\U00010a00-\U00011fff\U0001e900-\U0001e95f"
)
_EMOJI: Final = (
    "\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001fbff"
)
# The signs that silence a vowel: a joiner may follow them at the end of a word too (RFC 5892, appendix A.1 and A.2).
_VIRAMAS: Final = (
    "\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d3b\u0d3c\u0d4d\u0dca\u0e3a\u0eba\u0f84\u1039\u103a"
    "\u1714\u1734\u17d2\u1a60\u1b44\u1baa\u1bab\u1bf2\u1bf3\ua806\ua8c4\ua953\ua9c0\uaaf6\uabed"
    "\U00010a3f\U00011046\U0001107f\U000110b9\U00011133\U00011134\U000111c0\U00011235\U000112ea\U0001134d"
    "\U00011442\U000114c2\U000115bf\U0001163f\U000116b6\U0001172b\U00011839\U0001193d\U0001193e"
)
_LONELY: Final = re.compile(
    f"[{_JOINERS}](?!(?<=[{_SCRIPTS}].)[\\w{_SCRIPTS}])(?!(?<=\\w.)[{_SCRIPTS}])"
    f"(?!(?<=[{_EMOJI}\ufe0f].)[{_EMOJI}])(?!(?<=[{_VIRAMAS}].)(?![{_JOINERS}]))",
    re.DOTALL,
)


def clean(text: str, instead: str = "") -> str:
    """The text without what acts on a terminal or can't be seen; never longer, and twice the same as once.

    What goes: terminal escape sequences (ECMA-48), control characters but tab and line feed, bidirectional controls,
    zero-width and tag characters. Other line separators become line feeds, halves of surrogate pairs U+FFFD. Joiners
    stay between characters that they join, and tags in flags, so that emoji and all scripts stay as they are.

    ``instead``: a character to show in place of each one that goes, where people decide by what they see.
    """
    if text.isascii():
        if _SUSPECT_ASCII.search(text) is None:
            return text
    elif _SUSPECT.search(text) is None:
        return text
    if not instead:
        text = _ESCAPE.sub("", text)
    text = _LINE_BREAKS.sub("\n", text)
    text = _REMOVED.sub(lambda found: found[1] or ("\ufffd" if "\ud800" <= found[0] <= "\udfff" else instead), text)
    return _LONELY.sub(instead, _EXTRA.sub(instead, text))


def escaped(line: str) -> str:
    """One line in which what :func:`clean` removes, and each line break, is written as JSON writes it.

    Inside a JSON string it decodes to the same value.
    """
    line = _CONTROL.sub(_json_escape, line)
    line = _REMOVED.sub(lambda found: found[1] or _json_escape(found), line)
    return _LONELY.sub(_json_escape, _EXTRA.sub(_json_escape, line))


def _escape_unprintable(found: re.Match[str]) -> str:
    visible = found[0].isprintable() or unicodedata.category(found[0]) == "Cf"
    return found[0] if visible else _json_escape(found)


def _json_escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f")


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
    """The text, cleaned, on one line of at most ``limit`` UTF-16 code units; private characters go too."""
    # What comes after that can't be shown anyway, and a name may be of any length.
    head = text if len(text) <= limit * 4 + 256 else text[: limit * 4 + 256]
    line = clean(head)
    if not line.isprintable():
        line = "".join(character for character in line if unicodedata.category(character) != "Co")
    return shorten(" ".join(line.split()), limit)


def is_blank(text: str) -> bool:
    """Whether nothing of it can be seen: white space, control, zero-width and bidirectional characters at most."""
    for character in text:
        if not character.isspace() and unicodedata.category(character) not in {"Cc", "Cf"}:
            return False
    return True


def printable(text: str) -> str:
    """One line: a space in place of each line break and of each character that :func:`clean` removes."""
    return _CONTROL.sub(" ", clean(text, " "))


def terminal_text(text: str) -> str:
    """The text, cleaned, on one line: line breaks and tabs become spaces."""
    return _CONTROL.sub(" ", clean(text))


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
    """One line for an operator: what can't be printed is escaped, and what looks like a Discord token is hidden."""
    line = escaped(_TOKEN_LIKE.sub(HIDDEN, text))
    return line if line.isprintable() else _UNPRINTABLE.sub(_escape_unprintable, line)
