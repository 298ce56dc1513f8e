"""Durations and times of day as people read them; ``-`` for an unknown duration."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Final

from acpctl.quantities import number

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
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
