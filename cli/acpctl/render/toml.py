"""A JSON object as TOML (https://toml.io/en/v1.0.0)."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from acpctl.text import escape_json

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def toml_lines(table: dict[str, Any], name: str = "") -> list[str]:
    """The lines of a table: its values first, then its tables, each below its name. ``None`` is left out."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict | None)]
    for key, value in table.items():
        if isinstance(value, dict):
            path = f"{name}.{_key(key)}" if name else _key(key)
            inner = toml_lines(value, path)
            has_values = not value or not all(isinstance(one, dict) for one in value.values())
            lines += ["", f"[{path}]", *inner] if has_values else inner
    return lines


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return escape_json(json.dumps(value, ensure_ascii=False))
