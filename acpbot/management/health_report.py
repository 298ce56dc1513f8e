"""The result of ``health.get``: see docs/protocol.md."""

from __future__ import annotations

import msgspec

from acpbot.management.readiness import Check, State, Status  # noqa: TC001 - msgspec reads the annotations at run time
from acpbot.sessions.views import PoolCounts  # noqa: TC001 - the same


class ChatReport(msgspec.Struct, frozen=True, kw_only=True):
    """``chat`` of ``health.get``."""

    platform: str
    connected: bool
    since: str | None
    latency_ms: float | None
    last_heartbeat_ack_seconds: float | None


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``health.get``, in the order of its keys."""

    status: Status
    live: bool
    ready: bool
    checks: tuple[Check, ...]
    uptime_seconds: float
    version: str
    state: State
    chat: ChatReport
    pool: PoolCounts
    loop_lag_ms: float | None
    rss_bytes: int | None
