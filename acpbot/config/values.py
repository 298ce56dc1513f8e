"""Values of a configuration: those that are secret, and how each value is written as TOML or named in an error."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from acpbot.errors import ConfigError
from acpbot.text import HIDDEN, operator_line

_LONGEST = 60


class Secret(str):
    """A text that ``repr``, ``describe`` and errors do not show; they show ``shown`` in its place.

    ``variables`` are the environment variables that it was made of. ``str()`` and formatting give the value itself.
    """

    __slots__ = ("shown", "variables")

    shown: str
    variables: frozenset[str]

    def __new__(cls, value: str, shown: str = HIDDEN, variables: frozenset[str] = frozenset()) -> Self:
        """``value`` as a secret."""
        made = super().__new__(cls, value)
        made.shown = shown
        made.variables = variables
        return made

    def __repr__(self) -> str:
        return repr(self.shown)


def config_error(source: str, problem: str) -> ConfigError:
    """The error to raise: 'cannot use SOURCE: PROBLEM', on one line."""
    return ConfigError(operator_line(f"cannot use {source}: {problem}"))


def to_toml(value: object) -> str:
    """Write a setting as TOML; a ``Secret`` as its ``shown`` text."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return repr(value)
        case Secret():
            return to_toml(value.shown)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Path():
            return to_toml(str(value))
        case Mapping():
            pairs = (f"{quoted_key(key)} = {to_toml(item)}" for key, item in value.items())
            return "{ " + ", ".join(pairs) + " }" if value else "{}"
        case tuple() | list():
            return "[" + ", ".join(map(to_toml, value)) + "]"
        case _:
            raise TypeError(type(value).__name__)


def show(value: object) -> str:
    """Name in a few words a value that is of the wrong type or out of bounds."""
    match value:
        case bool() | float():
            return to_toml(value)
        case int():  # repr of one with over 4300 digits raises (sys.set_int_max_str_digits)
            return repr(value) if abs(value) < 10**_LONGEST else "a very large number"
        case str():
            return to_toml(value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "...")
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def quoted_key(key: str) -> str:
    """A key's name as TOML writes it: in quotes only where it needs them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else show(key)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` was probably meant to be."""
    close = difflib.get_close_matches(name[:_LONGEST].lower(), list(known), n=1, cutoff=0.7)
    return close[0] if close else None
