"""Durations and times of day as people read them; ``-`` for an unknown duration."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from acpctl.quantities import number, plural

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_UNITS: Final = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY, "w": 7 * _DAY}
_TIME_OF_DAY: Final = "%H:%M:%S"


def duration(value: object) -> str:
    """Seconds as ``42s``, ``3m12s``, ``2h05m`` or ``3d04h``."""
    seconds = number(value)
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def precise_duration(value: object) -> str:
    """The same with hundredths below a second and tenths below a minute: ``0.04s``, ``3.2s``, ``1m05s``."""
    seconds = number(value)
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds:.2f}s"
    return f"{seconds:.1f}s" if seconds < _MINUTE else duration(seconds)


def time_of_day(timestamp: str) -> str:
    """The local time of an RFC 3339 timestamp, as ``15:04:05``; ``timestamp`` itself where it is not one."""
    try:
        return datetime.fromisoformat(timestamp).astimezone().strftime(_TIME_OF_DAY)
    except (ValueError, OverflowError):  # not a timestamp, or beyond the year 9999 in our time zone
        return timestamp


def time_of_day_now() -> str:
    """The local time, as ``15:04:05``."""
    return time.strftime(_TIME_OF_DAY)


def local_time(timestamp: str) -> str:
    """The local date and time of an RFC 3339 timestamp, as ``2026-11-24 15:04:05``; itself where it is not one."""
    try:
        return datetime.fromisoformat(timestamp).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):  # not a timestamp, or beyond the year 9999 in our time zone
        return timestamp


def ago(timestamp: str) -> str:
    """How long ago an RFC 3339 timestamp is, in words: ``2 minutes ago``; empty where it is not one."""
    try:
        seconds = int((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds())
    except (ValueError, OverflowError, TypeError):  # not a timestamp, or one without a time zone
        return ""
    for size, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"), (1, "second")):
        if seconds >= size:
            return f"{plural(seconds // size, unit)} ago"
    return "just now"


def seconds_of(text: str) -> float | None:
    """How many seconds ``90``, ``5s``, ``10m`` or ``1h30m`` are (also d and w); ``None`` for anything else."""
    if re.fullmatch(r"(?:\d{1,9}[smhdw]){1,5}", text):
        return sum(int(amount) * _UNITS[unit] for amount, unit in re.findall(r"(\d+)([smhdw])", text))
    try:
        return float(text)
    except ValueError:
        return None


def moment(text: str) -> datetime | None:
    """The time that ``10m`` or ``1h30m`` (so long ago; also s, d, w) or an RFC 3339 timestamp names, else ``None``."""
    if text[-1:] in _UNITS and (ago := seconds_of(text)) is not None:
        try:
            return datetime.now(UTC) - timedelta(seconds=ago)
        except OverflowError:  # before the year 1
            return datetime.min.replace(tzinfo=UTC)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.astimezone()
