"""Other people's text for somebody who decides on it: nothing of it is invisible, and nothing of it is left out. Pure.

:mod:`acpbot.text` drops characters that are invisible or unsafe; here each of them is shown as an escape, since a
person must see what a text holds. So is white space that would push the rest out of sight.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Default_Ignorable_Code_Point (Unicode, DerivedCoreProperties) that are not of a category in _HIDDEN, and glyphs that
# are blank: Braille, a musical note head, the filler of Khitan, two Egyptian hieroglyphs, the mark of an object.
_BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufffc"
    "\U00016fe4\U00013441\U00013442\U0001d159\U000e0000-\U000e0fff]"
)
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_SEEN: Final = frozenset(" \t\u3000")  # white space that shows as such; the ideographic space is wide
_JOINERS: Final = frozenset("\u200c\u200d\ufe0e\ufe0f")
_SHORT: Final = {"\r": "\\r", "\x1b": "\\e", "\0": "\\0"}
_SPACES: Final = re.compile(r"[ \t\u3000]{41,}")
_EMPTY_LINES: Final = re.compile(r"\n(?:[ \t\u3000]*\n){5,}")
_BYTE: Final = 0xFF
_PLANE: Final = 0xFFFF
# Marks that look like ASCII ones with a meaning in paths, addresses and options.
_LOOK_ALIKE_MARKS: Final = frozenset("\u2024\u2044\u2215\u2236\u29f8\ua789\uff0e\uff0f\uff1a\u2010\u2011\u2212\uff0d")
_LOOK_ALIKE_LETTERS: Final = (
    "CYRILLIC",
    "GREEK",
    "ARMENIAN",
    "CHEROKEE",
    "LISU",
    "COPTIC",
    "FULLWIDTH",
    "MATHEMATICAL",
)
_JOINER_RUN: Final = re.compile("[\u200c\u200d\ufe0e\ufe0f]+")
_JOINER_RUN_MAX: Final = 2  # of a symbol: a variation selector, and a joiner
_WORD: Final = re.compile(r"\S+")
_WORD_MAX: Final = 60
_MIXED_MOST: Final = 3
_SEARCHED_MOST: Final = 20_000


class _Escapes(dict[int, str]):
    """The escape of each character that needs one, by its code point; the character itself where it needs none."""

    def __missing__(self, number: int) -> str:
        char = chr(number)
        shows = char == "\n" or char in _SEEN or char in _JOINERS
        hidden = not shows and (unicodedata.category(char) in _HIDDEN or _BLANK.match(char) is not None)
        self[number] = _escape(char) if hidden else char
        return self[number]


def _escape(char: str) -> str:
    number = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if number <= _BYTE:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= _PLANE else f"\\U{number:08x}"


_ESCAPES: Final = _Escapes()
_ESCAPED_JOINERS: Final = {char: _escape(char) for char in _JOINERS}


def visible(text: str) -> str:
    r"""The text with an escape (``\u202e``) in place of each character that is invisible or changes what is around it.

    Newlines and tabs stay. A run of more than 40 spaces, and of more than 4 empty lines, is replaced by its count.
    """
    if not (text.isascii() and text.isprintable()):
        if not text.isascii():
            text = _JOINER_RUN.sub(_escape_joiners, text)
        text = _EMPTY_LINES.sub(_count_lines, text.translate(_ESCAPES))
    return _SPACES.sub(lambda run: f"⟨{len(run[0])} spaces⟩", text)


def visible_line(text: str) -> str:
    """The same on one line: newlines are escaped too."""
    return visible(text.replace("\n", "\\n"))


def mixed_words(text: str) -> list[str]:
    """The first words that mix ASCII letters with ones that look like them, such as a Cyrillic letter in ``curl``."""
    found: list[str] = []
    if text.isascii():
        return found
    if len(text) > _SEARCHED_MOST:
        text = f"{text[: _SEARCHED_MOST // 2]} {text[-_SEARCHED_MOST // 2 :]}"
    for match in _WORD.finditer(text):
        word = match[0]
        if word.isascii():
            continue
        chars = set(word)
        if any(char.isascii() and char.isalnum() for char in chars) and any(map(_looks_like_ascii, chars)):
            found.append(word if len(word) <= _WORD_MAX else word[:_WORD_MAX] + "…")
            if len(found) == _MIXED_MOST:
                break
    return found


def _looks_like_ascii(char: str) -> bool:
    if char.isascii():
        return False
    return char in _LOOK_ALIKE_MARKS or (char.isalnum() and unicodedata.name(char, "").startswith(_LOOK_ALIKE_LETTERS))


def _escape_joiners(run: re.Match[str]) -> str:
    text, start, end = run.string, run.start(), run.end()
    if end - start > _JOINER_RUN_MAX:
        return "".join(map(_ESCAPED_JOINERS.__getitem__, run[0]))
    return "".join(text[at] if _joins(text, at) else _ESCAPED_JOINERS[text[at]] for at in range(start, end))


def _joins(text: str, at: int) -> bool:
    """Whether a joiner is between characters that it joins, or a variation selector is after one that it changes."""
    if at == 0 or text[at - 1].isascii():
        return False
    if unicodedata.category(text[at - 1]) in _HIDDEN or text[at - 1] in _JOINERS - {"\ufe0f"}:
        return False
    if text[at] in "\ufe0e\ufe0f":
        return True
    after = text[at + 1 : at + 2]
    return not after.isascii() and unicodedata.category(after) not in _HIDDEN


def _count_lines(run: re.Match[str]) -> str:
    return f"\n⟨{run[0].count(chr(10)) - 1} empty lines⟩\n"
