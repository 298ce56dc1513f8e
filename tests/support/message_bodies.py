"""What the tests of live messages share: feeding one, and holding it against all that must be true of any."""

from __future__ import annotations

import re
from typing import Any

from acpbot.chat.rendering.live_message import Body, LiveMessage, join
from acpbot.chat.rendering.splitter import ZERO_WIDTH_SPACE
from acpbot.text import units

# An own reading of 'a fence is open', not the splitter's: a line of three or more of the same character.
OPENER = re.compile(r"[^\S\n]*((?:[-*+]|[0-9]{1,9}[.)])[ \t]+)*(?P<marker>`{3,}|~{3,})(?P<info>.*)", re.DOTALL)


def open_fence(body: Body) -> str | None:
    """The marker of the fence that is open at the end of a message, if any; added zero-width spaces aside."""
    marker = None
    for line in f"{body.before.removesuffix(ZERO_WIDTH_SPACE)}{body.shown}{body.after}".split("\n"):
        if marker is not None:
            if set(line.strip()) == {marker[0]} and len(line.strip()) >= len(marker):
                marker = None
        elif (match := OPENER.fullmatch(line)) and len(match["marker"]) <= 32:
            marker = None if match["marker"][0] == "`" in match["info"] else match["marker"]
    return marker


def feed(chunks: list[str], **settings: Any) -> LiveMessage:
    live = LiveMessage(**settings)
    for chunk in chunks:
        live.append(chunk)
    return live


def check(live: LiveMessage, text: str, *, limit: int = 2000, max_bodies: int = 5) -> list[Body]:
    """All that holds of any message."""
    assert live.text == text
    parts = live.parts()
    assert [part.text for part in parts] == live.bodies()
    assert len(parts) <= max_bodies
    for part in parts:
        assert units(part.text) <= limit
        assert part.text.strip()
        assert open_fence(part) is None, part.text
        assert part.shown.strip() == part.raw.strip()
        assert part.shown in part.raw
    overflow = live.overflow()
    assert overflow is None or (overflow.strip() and len(parts) == max_bodies)
    if text.strip():
        assert join(parts, overflow) == text
    return parts
