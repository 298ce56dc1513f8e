"""Texts that hide something, and texts that only look as if they did."""

from __future__ import annotations

import re

HIDDEN = (
    "a\x1b[31mb\x1b[0m",
    "a\x1b]0;title\x07b",
    "a\x1b]8;;http://x\x1b\\b",
    "a\x1b]0;without an end",
    "a\x9b31mb",
    "a\x9dtitle\x9cb",
    "a\x00b\x07c\x08d\x7fe",
    "a\x85b",
    "a\rb",
    "a\u202eb\u202c",
    "a\u2066b\u2069\u200f\u200e\u061c",
    "a\u200bb\ufeffc\u2060d\u00ade\u180ef",
    "pass\u200dword",
    "pass\u200c\u200dword",
    "\u4e2d\u200d\u56fd",
    "a\u2028b\u2029c",
    "a\U000e0041\U000e0042\U000e007fb",
    "\U0001f3f4\U000e0067 and no more",
    "a\ufe0f\ufe0e\ufe0f\U000e0101b",
    "a\u034fb",
    "a\ufff9b\ufffac\ufffb",
    "a\ud800b",
    "a\ufdd0b\uffff",
)

# ruff: noqa: RUF001 - letters of other scripts are what this is about
ORDINARY = (
    "plain words, 12 °C, naïve",
    "می‌خواهم PDF‌ها را ببینم",
    "क्‍ष और श्री",
    "ന്‍ മലയാളം",
    "র‍্যাব",
    "ශ්‍රී ලංකා",
    "עברית שָׁלוֹם",
    "مرحبا ۝١",
    "日本語 한국어 葛󠄀",
    "👩‍💻 👩🏽‍💻 ❤️‍🔥 🏳️‍🌈 👨‍👩‍👧‍👦 🧑‍⚕️ 🚶‍➡️ 🙂‍↔️ 🐻‍❄️ 1️⃣ 🇩🇪",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "e\u0301 ê\u0323",
)

_ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_TAG = re.compile("[\U000e0000-\U000e007f]")
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e007a]{3,5}\U000e007f")
_LATIN_JOINED = re.compile("[a-zA-Z][\u200c\u200d]+[a-zA-Z]|[\u200c\u200d]{2}")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2}")


def hides_nothing(text: str) -> bool:
    """Whether no character of it acts on a terminal, turns text around or can't be seen."""
    found = (_ACTS.search(text), _TAG.search(_FLAG.sub("", text)), _LATIN_JOINED.search(text), _SELECTORS.search(text))
    return not any(found)
