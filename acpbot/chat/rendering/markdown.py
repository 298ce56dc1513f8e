"""Other people's text as code in Markdown, so that it is shown as it is. Pure.

Mentions need no care here: Discord is asked to ping nobody, whatever a message says.
"""

from __future__ import annotations

import re
from typing import Final

from acpbot.text import one_line

_LANGUAGE: Final = re.compile(r"[A-Za-z0-9_+#.-]{1,20}")
# Before a colon and two slashes, where Discord makes a link of an address.
_MARKUP: Final = re.compile(r"[\\`*_~|\[\]<>@]|:(?=//)|(?<![^\n])[#>-]")
_FENCE: Final = re.compile("`(?=``)")


def plain(text: str) -> str:
    """The text with its markup escaped: in a sentence of the bot's own, no link, mention or markup of it has effect."""
    return _MARKUP.sub(r"\\\g<0>", text)


def code(text: str, limit: int = 100) -> str:
    """The text as inline code on one line: no markup, no mention, no link preview."""
    return f"`{one_line(text.replace('`', chr(39)), limit) or '?'}`"


def escape_fences(text: str) -> str:
    """Code that does not end its code block: a zero-width space goes between three backticks."""
    return _FENCE.sub("`\u200b", text)


def fence(text: str, language: str = "") -> str:
    """The text as a code block. Discord ends one at three backticks, so those inside are escaped.

    A language with odd characters, or over 20 of them, is left out.
    """
    named = language if _LANGUAGE.fullmatch(language) else ""
    inner = escape_fences(text).strip("\n")
    if inner.endswith("`"):
        inner += "\u200b"
    return f"```{named}\n{inner or ' '}\n```"
