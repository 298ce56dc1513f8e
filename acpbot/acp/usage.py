"""What an agent says that it has used: of its model's context, and money. Checked; an agent may send anything. Pure.

Source: https://agentclientprotocol.com/protocol/schema (``usage_update``; its cost is that of the whole ACP session).
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import msgspec

TOKENS_MOST: Final = 10**12
AMOUNT_MOST: Final = 1e9
_CURRENCY: Final = re.compile("[A-Za-z]{3}")
_SIGNS: Final = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


class Cost(msgspec.Struct, frozen=True):
    """An amount of money; ``currency`` is a code of ISO 4217 in capital letters."""

    amount: float
    currency: str

    def __str__(self) -> str:
        number = f"{self.amount:,.{2 if self.amount >= 1 else 4}f}"
        sign = _SIGNS.get(self.currency)
        return f"{number} {self.currency}" if sign is None else f"{sign}{number}"


class Usage(msgspec.Struct, frozen=True):
    """Tokens in the context, and how many fit; what the session has cost. ``None`` is unknown."""

    used: int | None = None
    size: int | None = None
    cost: Cost | None = None


def usage(body: dict[str, Any]) -> Usage:
    """What a ``usage_update`` says; each number that can't be true is left out."""
    size = _tokens(body.get("size"))
    return Usage(_tokens(body.get("used")), size or None, _cost(body.get("cost")))


def _tokens(value: Any) -> int | None:
    number = _number(value, TOKENS_MOST)
    return None if number is None or number != int(number) else int(number)


def _cost(value: Any) -> Cost | None:
    if not isinstance(value, dict):
        return None
    amount, currency = _number(value.get("amount"), AMOUNT_MOST), value.get("currency")
    if amount is None or not isinstance(currency, str) or _CURRENCY.fullmatch(currency) is None:
        return None
    return Cost(float(amount), currency.upper())


def _number(value: Any, most: float) -> float | None:
    """A number from 0 to ``most``; JSON knows no NaN, but some decoders do."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value <= most and math.isfinite(value) else None
