"""Numbers as people read them. Every function takes a JSON value of the daemon and shows ``-`` for an unknown one."""

from __future__ import annotations

from typing import Final

_KILO: Final = 1024
_LIMIT: Final = 10**18


def number(value: object) -> float | None:
    """A JSON number; ``None`` for anything else, and for a number that no float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if -_LIMIT < value < _LIMIT else None


def whole_number(value: object) -> int:
    """A JSON number without its fraction; 0 for anything else."""
    return int(number(value) or 0)


def size(value: object) -> str:
    """Bytes as ``ls -h`` shows them: ``512B``, ``9.8M``, ``118M``."""
    amount = number(value)
    if amount is None:
        return "-"
    for unit in "BKMGT":
        if amount < _KILO or unit == "T":
            break
        amount /= _KILO
    return f"{amount:.1f}{unit}" if amount < 10 and unit != "B" else f"{amount:.0f}{unit}"  # noqa: PLR2004 - one digit


def count(value: object) -> str:
    """A whole number."""
    amount = number(value)
    return "-" if amount is None else str(int(amount))


def plural(amount: int, singular: str, plural_form: str | None = None) -> str:
    """``1 session``, ``3 sessions``; ``plural_form`` where the plural does not end in s."""
    return f"{amount:,} {singular if amount == 1 else plural_form or singular + 's'}"
