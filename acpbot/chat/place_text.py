"""What people read about the place of a message that waits. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acpbot.sessions.turn import Place


def place_text(place: Place) -> str:
    """One or two sentences; it is shown again whenever the place changes."""
    if place.is_next:
        return "Stopping the current answer to send this."
    if place.start:
        queued = f" {place.ahead} ahead of you." if place.ahead else ""
        return f"{place.start}.{queued}"
    if place.in_line is None or place.ahead:
        return f"Queued, {place.ahead} ahead of you."
    number = f"You're number {place.in_line} in line."
    if not place.busy:
        return number
    return f"{'My only agent is' if place.busy == 1 else f'All {place.busy} agents are'} busy. {number}"
