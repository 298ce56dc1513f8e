"""Whether the daemon is alive and ready, as the probes report it. It imports nothing of acpbot, for the probes."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["ok", "not_ready"]
DaemonState = Literal["starting", "running", "draining", "stopping"]


class Check(msgspec.Struct, frozen=True):
    """One check; ``reason`` says what is wrong, ``None`` where nothing is."""

    name: str
    ok: bool
    reason: str | None = None


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """What the probes report. ``checks`` are those that decide readiness."""

    status: Status
    live: bool
    ready: bool
    checks: tuple[Check, ...]
    uptime_seconds: float
    chat_connected: bool
