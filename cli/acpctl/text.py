"""Text for a terminal: nothing in it may act on the terminal, and it says things the way people do."""

from __future__ import annotations

import re
from typing import Final

# ECMA-48: CSI, OSC, the other strings, two-character escapes. Agents colour their logs; the colours mean nothing here.
_ESCAPES: Final = (
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-Z\\\\-~])"
)
# C0 and C1, zero-width and bidirectional controls, line separators, tags, surrogates. ZWJ and variation selectors stay:
# emoji are made of them.
_UNSAFE: Final = (
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_OUR_MARKS: Final = "●○…"  # in most tables nothing else asks for the tables of Unicode
_WIDE: Final = "WF"
_NO_WIDTH: Final = frozenset({"Mn", "Me", "Cf"})
_EMOJI_STYLE: Final = "\ufe0f"
_KILO: Final = 1024
_MOST: Final = 10**18
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def clean(value: object) -> str:
    """``value`` as one line that is safe to print: escape sequences go, what else could act is shown escaped."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    if text.isprintable():
        return text
    text = re.sub(_ESCAPES, "", text).strip("\r\n")
    text = re.sub(r"\s*[\r\n]\s*|\t", " ", text)
    return re.sub(_UNSAFE, _escaped, text)


def clean_lines(value: object) -> str:
    """The same for text of several lines: its newlines stay, tabs become spaces."""
    text = value if isinstance(value, str) else ""
    if text.isprintable():
        return text
    lines = re.sub(_ESCAPES, "", text).replace("\r\n", "\n").split("\n")
    return "\n".join(re.sub(_UNSAFE, _escaped, line.expandtabs(4).rstrip("\r")) for line in lines)


def words(value: object) -> str:
    """A cell of a piped table: one line without runs of spaces, ``-`` where there is nothing."""
    return " ".join(clean(value).split()) or "-"


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number <= 0xFF:  # noqa: PLR2004 - the range that two hexadecimal digits name
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"  # noqa: PLR2004 - the same with four


def width(text: str) -> int:
    """How many columns of a terminal ``text`` takes (Unicode Standard Annex 11)."""
    return len(text) if text.isascii() else sum(_columns(text, index) for index in range(len(text)))


def exceeds(text: str, columns: int) -> bool:
    """Whether ``text`` takes more than ``columns``; looks no further than it must."""
    return len(take(text, columns)) < len(text)


def fit(text: str, columns: int) -> str:
    """``text`` in at most ``columns``, its end given up for an ellipsis."""
    if not exceeds(text, columns):
        return text
    return take(text, columns - 1).rstrip() + "…" if columns > 0 else ""


def fit_left(text: str, columns: int) -> str:
    """``text`` in at most ``columns``, its beginning given up for an ellipsis: the end of a path says most."""
    if not exceeds(text, columns):
        return text
    start, left = len(text), columns - 1
    while start > 0 and (left := left - _columns(text, start - 1)) >= 0:
        start -= 1
    slash = text.find("/", start)
    if slash >= 0 and slash - start <= columns // 3:
        start = slash
    return "…" + text[start:] if columns > 0 else ""


def take(text: str, columns: int) -> str:
    """The longest beginning of ``text`` that takes at most ``columns``."""
    if text.isascii():
        return text[: max(0, columns)]
    left = columns
    for index in range(len(text)):
        left -= _columns(text, index)
        if left < 0:
            return text[:index]
    return text


def _columns(text: str, index: int) -> int:
    """What the character at ``index`` takes; followed by the selector of emoji style it is a wide one."""
    character = text[index]
    if character.isascii() or character in _OUR_MARKS:
        return 1
    import unicodedata  # noqa: PLC0415 - a megabyte that most output does not need

    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    emoji = text[index + 1 : index + 2] == _EMOJI_STYLE
    return 2 if emoji or unicodedata.east_asian_width(character) in _WIDE else 1


def home(path: str, folder: str) -> str:
    """``path`` with ``~`` for the home directory ``folder`` (empty: none)."""
    folder = folder.rstrip("/")
    if folder and (path == folder or path.startswith(folder + "/")):
        return "~" + path[len(folder) :]
    return path


def number(value: object) -> float | None:
    """A JSON number that measures something; ``None`` for anything else, and for what no float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if -_MOST < value < _MOST else None


def duration(value: object) -> str:
    """Seconds as people say them: ``42s``, ``3m12s``, ``2h05m``, ``3d04h``; ``-`` for unknown."""
    seconds = number(value)
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def short_seconds(value: object) -> str:
    """Seconds that may be a few hundredths: ``0.04s``, ``3.2s``, ``1m05s``; ``-`` for unknown."""
    seconds = number(value)
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds:.2f}s"
    return f"{seconds:.1f}s" if seconds < _MINUTE else duration(seconds)


def size(value: object) -> str:
    """Bytes as ``ls -h`` says them: ``512B``, ``9.8M``, ``118M``; ``-`` for unknown."""
    amount = number(value)
    if amount is None:
        return "-"
    for unit in "BKMGT":
        if amount < _KILO or unit == "T":
            break
        amount /= _KILO
    return f"{amount:.1f}{unit}" if amount < 10 and unit != "B" else f"{amount:.0f}{unit}"  # noqa: PLR2004 - one digit


def count(value: object) -> str:
    """A whole number; ``-`` for unknown."""
    amount = number(value)
    return "-" if amount is None else str(int(amount))


def many(amount: int, one: str, more: str | None = None) -> str:
    """``1 session``, ``3 sessions``; ``more`` is the plural where it is not made with an s."""
    return f"{amount:,} {one if amount == 1 else more or one + 's'}"
