"""Points in time and durations as text."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

_SECONDS_UP_TO: Final = 90  # more seconds than this read better as minutes, more minutes as hours
_DAYS_FROM_MINUTES: Final = 2880  # two days


def rfc3339(unix_seconds: float | None = None) -> str:
    """A Unix time (now where it is left out) as RFC 3339 text in UTC, with milliseconds: '2026-11-24T00:00:00.000Z'."""
    at = datetime.now(UTC) if unix_seconds is None else datetime.fromtimestamp(unix_seconds, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def short_duration(seconds: float) -> str:
    """A duration for people, in one unit: '12 s', '3 min', '2 h', '3 days'."""
    if seconds < _SECONDS_UP_TO:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    if minutes < _SECONDS_UP_TO:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < _DAYS_FROM_MINUTES else f"{minutes / 1440:.0f} days"


def long_duration(seconds: float) -> str:
    """A duration for people, in one unit and in words: '1 second', '3 minutes', '2 hours', '3 days'."""
    if seconds < _SECONDS_UP_TO:
        return f"{seconds:.0f} second{'s' * (round(seconds) != 1)}"
    minutes = round(seconds / 60)
    if minutes < _SECONDS_UP_TO:
        return f"{minutes} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < _DAYS_FROM_MINUTES else f"{minutes / 1440:.0f} days"


def seconds_since_boot() -> float:
    """Seconds since the machine started, its sleep included. Source: CLOCK_BOOTTIME in clock_gettime(2)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
