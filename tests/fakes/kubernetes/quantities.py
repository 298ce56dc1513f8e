"""Quantities such as `500m`, `400Mi` and `2` (k8s.io/apimachinery/pkg/api/resource)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

SUFFIXES: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
FORM: Final = re.compile(r"^([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([KMGTPE]i|[numkMGTPE]?))$")


def quantity(text: str | float) -> Decimal:
    """The number; ValueError for what is no quantity."""
    found = FORM.match(str(text))
    if found is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    digits, exponent, suffix = found.groups()
    number = Decimal(digits + (exponent or ""))
    if suffix in BINARY:
        return number * 2 ** BINARY[suffix]
    return number.scaleb(SUFFIXES[suffix or ""])


def written(number: Decimal) -> str:
    """The shortest usual form: whole numbers with a binary suffix where one fits, thousandths with `m`."""
    if number != number.to_integral_value():
        return f"{int(number * 1000)}m"
    whole = int(number)
    for suffix, power in reversed(BINARY.items()):
        if whole and whole % 2**power == 0:
            return f"{whole >> power}{suffix}"
    return str(whole)
