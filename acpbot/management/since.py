"""The parameter ``since`` of several methods: a time, as what it is compared with."""

from __future__ import annotations

from datetime import datetime

from acpbot.errors import InvalidParams
from acpbot.times import rfc3339


def utc_time(method: str, since: str | None) -> str:
    """An RFC 3339 time as :func:`rfc3339` writes it, empty where there is none. Raises InvalidParams."""
    if since is None:
        return ""
    try:
        at = datetime.fromisoformat(since)
        utc = None if at.tzinfo is None else rfc3339(at.timestamp())
    except (ValueError, OverflowError):
        utc = None
    if utc is None:
        wanted = "an RFC 3339 time, such as 2026-11-24T08:00:00Z"
        raise InvalidParams(f"cannot call {method}: the parameter 'since' is not {wanted}")
    return utc
