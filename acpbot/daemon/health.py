"""Health: what is known of the daemon goes in, checks come out. Pure functions, for the socket and for the probes.

Liveness never depends on the chat: a reconnect of the gateway must not restart a healthy process. The checks ``chat``,
``pool`` and ``drain`` decide readiness; all others are only reported. See ``health.get`` in docs/protocol.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from acpbot.management.readiness import Check, DaemonState, Readiness, Status
from acpbot.sessions.views import PoolCounts  # noqa: TC001 - msgspec reads the annotations when it encodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.chat.platform import ChatFacts

HEARTBEAT_SECONDS: Final = 90.0  # acknowledged longer ago: the gateway counts as disconnected
LOOP_LAG_MS: Final = 1000.0  # more than this is reported

_READINESS: Final = ("chat", "pool", "drain")


class HealthInputs(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon at one moment.

    ``grace_seconds``: how long a disconnect may last before it counts. ``config_problem``: why the configuration that
    was read last is not in force, or which keys of it are not. ``store_problem``: why nothing can be written to the
    database. Both are ``None`` where there is no problem. ``crashed_tasks``: names of background tasks that have ended
    with an error. ``strays``: how many processes of no known session run.
    """

    state: DaemonState
    version: str
    uptime_seconds: float
    chat: ChatFacts
    pool: PoolCounts
    grace_seconds: float = 15.0
    loop_lag_ms: float | None = None
    rss_bytes: int | None = None
    store_problem: str | None = None
    config_problem: str | None = None
    crashed_tasks: Sequence[str] = ()
    strays: int = 0


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
    state: DaemonState
    chat: ChatReport
    pool: PoolCounts
    loop_lag_ms: float | None
    rss_bytes: int | None
    strays: int


def checks(inputs: HealthInputs) -> tuple[Check, ...]:
    """All checks, in the documented order."""
    problems = {
        "chat": _chat_problem(inputs),
        "pool": _pool_problem(inputs.pool),
        "drain": _drain_problem(inputs.state),
        "loop": _loop_problem(inputs.loop_lag_ms),
        "config": inputs.config_problem,
        "store": inputs.store_problem,
        "tasks": _task_problem(inputs.crashed_tasks),
        "strays": _stray_problem(inputs.strays),
    }
    return tuple(Check(name, reason is None, reason) for name, reason in problems.items())


def chat_connected(chat: ChatFacts) -> bool:
    """Whether the platform is connected; a heartbeat acknowledged over 90 s ago counts as disconnected."""
    late = chat.heartbeat_ack_seconds is not None and chat.heartbeat_ack_seconds > HEARTBEAT_SECONDS
    return chat.connected and not late


def readiness(inputs: HealthInputs) -> Readiness:
    """What the probes report."""
    deciding = tuple(check for check in checks(inputs) if check.name in _READINESS)
    ready = all(check.ok for check in deciding)
    return Readiness(
        status="ok" if ready else "not_ready",
        live=True,
        ready=ready,
        checks=deciding,
        uptime_seconds=round(inputs.uptime_seconds, 1),
        chat_connected=chat_connected(inputs.chat),
    )


def report(inputs: HealthInputs) -> HealthReport:
    """The result of ``health.get``."""
    ready = readiness(inputs)
    chat = inputs.chat
    return HealthReport(
        status=ready.status,
        live=ready.live,
        ready=ready.ready,
        checks=checks(inputs),
        uptime_seconds=ready.uptime_seconds,
        version=inputs.version,
        state=inputs.state,
        chat=ChatReport(
            platform=chat.platform,
            connected=ready.chat_connected,
            since=chat.since,
            latency_ms=_rounded(chat.latency_ms),
            last_heartbeat_ack_seconds=_rounded(chat.heartbeat_ack_seconds),
        ),
        pool=inputs.pool,
        loop_lag_ms=_rounded(inputs.loop_lag_ms),
        rss_bytes=inputs.rss_bytes,
        strays=inputs.strays,
    )


def summary(state: DaemonState, pool: PoolCounts) -> str:
    """One line such as 'running: 3 sessions, 1 busy, 0 queued'."""
    line = f"{state}: {pool.sessions} session{'' if pool.sessions == 1 else 's'}, {pool.busy} busy"
    if pool.waiting:
        line += f", {pool.waiting} waiting"
    if pool.stuck:
        line += f", {pool.stuck} stuck"
    return f"{line}, {pool.queued} queued"


def _chat_problem(inputs: HealthInputs) -> str | None:
    chat = inputs.chat
    if inputs.state == "starting":
        return "acpbot is starting"
    if not chat.connected:
        if chat.disconnected_seconds is None:
            return f"{chat.platform} has not been connected yet"
        if chat.disconnected_seconds > inputs.grace_seconds:
            return f"{chat.platform} has been disconnected for {chat.disconnected_seconds:.0f} s"
        return None
    if not chat_connected(chat):
        return f"{chat.platform} acknowledged its last heartbeat {chat.heartbeat_ack_seconds:.0f} s ago"
    return None


def _pool_problem(pool: PoolCounts) -> str | None:
    """An idle session can make way for another one; sessions in all other states cannot."""
    taken = {"busy": pool.busy, "waiting": pool.waiting, "stuck": pool.stuck, "starting": pool.starting}
    if sum(taken.values()) < pool.max:
        return None
    states = ", ".join(f"{count} {state}" for state, count in taken.items() if count)
    return f"the pool is exhausted: all {pool.max} places are taken ({states})"


def _drain_problem(state: DaemonState) -> str | None:
    match state:
        case "draining":
            return "acpbot is draining: it takes no new turns"
        case "stopping":
            return "acpbot is stopping"
    return None


def _loop_problem(lag_ms: float | None) -> str | None:
    if lag_ms is None or lag_ms <= LOOP_LAG_MS:
        return None
    return f"the event loop was {lag_ms / 1000:.1f} s late"


def _task_problem(crashed: Sequence[str]) -> str | None:
    if not crashed:
        return None
    return f"background tasks have ended with an error: {', '.join(crashed)}; see the log, and restart acpbot"


def _stray_problem(strays: int) -> str | None:
    if not strays:
        return None
    return (
        f"{strays} process{'' if strays == 1 else 'es'} of no known session: acpbot ends them once it may; see the log"
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
