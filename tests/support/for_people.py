"""What no text may hold that people in a chat read."""

from __future__ import annotations

import re
from typing import Final

OF_OPERATORS: Final = re.compile(
    r"\bcannot \w+"  # an error for operators
    r"|-32\d\d\d|\(-?\d{3,}\)"  # a code of JSON-RPC or HTTP
    r"|\[(?:agents?|pool|discord|permissions|store|management)\b"  # a table of the configuration
    r"|\b[a-z]+(?:_[a-z]+)+\b"  # a key of it, or a wire name
    r"|(?<![\w<`/])/(?:home|tmp|usr|bin|srv|etc|no)/"  # a path
    r"|internal error|see the log|\b[A-Z]\w+(?:Error|Exception)\b|Traceback",
    re.IGNORECASE,
)


def of_operators(text: str) -> list[str]:
    """The parts of the text that only operators should read."""
    return [found.group() for found in OF_OPERATORS.finditer(text)]
