"""Health: plain facts about the daemon in, verdicts out. Pure functions, the same for the socket and for the probes.

A liveness verdict never looks at the chat: a gateway's reconnect must not restart a healthy process. Readiness is the
checks ``chat``, ``pool`` and ``drain``; the others are told, but do not decide (DESIGN section 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from acpbot.management.health_report import ChatReport, HealthReport
from acpbot.management.readiness import Check, Readiness, State

if TYPE_CHECKING:
    from acpbot.chat.platform import ChatFacts
    from acpbot.sessions.views import PoolCounts

HEARTBEAT_SECONDS: Final = 90.0  # acknowledged longer ago: the gateway counts as disconnected
LOOP_LAG_MS: Final = 1000.0  # later than this is reported

_REPORTED_ONLY: Final = frozenset({"loop", "config", "store"})


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon at one moment.

    ``grace_seconds``: how long a disconnect may last before it counts. ``config_problem``: why the configuration, as it
    was last read, is not in force, or what of it is not; ``None`` where all of it is. ``store_problem``: why nothing
    can be written down, ``None`` where all is well.
    """

    state: State
    version: str
    uptime_seconds: float
    chat: ChatFacts
    pool: PoolCounts
    grace_seconds: float = 15.0
    loop_lag_ms: float | None = None
    rss_bytes: int | None = None
    store_problem: str | None = None
    config_problem: str | None = None


def checks(facts: Facts) -> tuple[Check, ...]:
    """All checks: ``chat``, ``pool``, ``drain``, ``loop``, ``config``, ``store``."""
    found = {
        "chat": _chat_problem(facts),
        "pool": _pool_problem(facts.pool),
        "drain": _drain_problem(facts.state),
        "loop": _loop_problem(facts.loop_lag_ms),
        "config": facts.config_problem,
        "store": facts.store_problem,
    }
    return tuple(Check(name, reason is None, reason) for name, reason in found.items())


def chat_connected(chat: ChatFacts) -> bool:
    """Whether the platform is connected; a heartbeat acknowledged over 90 s ago counts as disconnected."""
    late = chat.heartbeat_ack_seconds is not None and chat.heartbeat_ack_seconds > HEARTBEAT_SECONDS
    return chat.connected and not late


def readiness(facts: Facts) -> Readiness:
    """What the probes may tell of these facts."""
    deciding = tuple(check for check in checks(facts) if check.name not in _REPORTED_ONLY)
    ready = all(check.ok for check in deciding)
    return Readiness(
        status="ok" if ready else "not_ready",
        live=True,
        ready=ready,
        checks=deciding,
        uptime_seconds=round(facts.uptime_seconds, 1),
        chat_connected=chat_connected(facts.chat),
    )


def report(facts: Facts) -> HealthReport:
    """The result of ``health.get``."""
    verdict = readiness(facts)
    chat = facts.chat
    return HealthReport(
        status=verdict.status,
        live=verdict.live,
        ready=verdict.ready,
        checks=checks(facts),
        uptime_seconds=verdict.uptime_seconds,
        version=facts.version,
        state=facts.state,
        chat=ChatReport(
            platform=chat.platform,
            connected=verdict.chat_connected,
            since=chat.since,
            latency_ms=_rounded(chat.latency_ms),
            last_heartbeat_ack_seconds=_rounded(chat.heartbeat_ack_seconds),
        ),
        pool=facts.pool,
        loop_lag_ms=_rounded(facts.loop_lag_ms),
        rss_bytes=facts.rss_bytes,
    )


def summary(state: State, pool: PoolCounts) -> str:
    """One line such as 'running: 3 sessions, 1 busy, 0 queued'."""
    more = {"waiting": pool.waiting, "stuck": pool.stuck}
    counts = [f"{pool.sessions} session{'' if pool.sessions == 1 else 's'}", f"{pool.busy} busy"]
    counts += [f"{count} {name}" for name, count in more.items() if count]
    return f"{state}: {', '.join([*counts, f'{pool.queued} queued'])}"


def _chat_problem(facts: Facts) -> str | None:
    chat = facts.chat
    if facts.state == "starting":
        return "acpbot is starting"
    if not chat.connected:
        if chat.disconnected_seconds is None:
            return f"{chat.platform} has not been connected yet"
        if chat.disconnected_seconds > facts.grace_seconds:
            return f"{chat.platform} has been disconnected for {chat.disconnected_seconds:.0f} s"
        return None
    if not chat_connected(chat):
        return f"{chat.platform} acknowledged its last heartbeat {chat.heartbeat_ack_seconds:.0f} s ago"
    return None


def _pool_problem(pool: PoolCounts) -> str | None:
    """A session that is idle can make room; all others can't."""
    taken = {"busy": pool.busy, "waiting": pool.waiting, "stuck": pool.stuck, "starting": pool.starting}
    if sum(taken.values()) < pool.max:
        return None
    told = ", ".join(f"{count} {state}" for state, count in taken.items() if count)
    return f"the pool is exhausted: all {pool.max} places are taken ({told})"


def _drain_problem(state: State) -> str | None:
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


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
