"""Health: what is known of the daemon goes in, checks come out. Pure functions, for the socket and for the probes.

Liveness never depends on the chat: a reconnect of the gateway must not restart a healthy process. The checks ``chat``,
``pool`` and ``drain`` decide readiness; all others are only reported. See ``health.get`` in docs/protocol.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from acpbot.config.security import Finding  # noqa: TC001 - msgspec reads the annotations when it encodes
from acpbot.daemon.descriptors import FEW_LEFT
from acpbot.management.readiness import Check, DaemonState, Readiness, Status
from acpbot.sessions.views import PoolCounts  # noqa: TC001 - msgspec reads the annotations when it encodes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acpbot.chat.platform import ChatFacts
    from acpbot.daemon.descriptors import OpenFiles
    from acpbot.sessions.views import OutdatedSessions

HEARTBEAT_SECONDS: Final = 90.0  # acknowledged longer ago: the gateway counts as disconnected
LOOP_LAG_MS: Final = 1000.0  # more than this is reported

_NAMED_MOST: Final = 5
_PROBLEMS_MOST: Final = 10

_READINESS: Final = ("chat", "pool", "drain")
_WARNINGS: Final = frozenset({"agents", "stuck"})  # acpbot itself works all the same


class HealthInputs(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon at one moment.

    ``grace_seconds``: how long a disconnect may last before it counts. ``config_problem``: why the configuration that
    was read last is not in force; ``config_waiting``: its keys that need a restart. ``store_problem``: why nothing can
    be written to the database. ``socket_problem``: why clients do not reach the management socket. These are ``None``
    where there is no problem. ``outdated``: sessions that use earlier settings of their agents; ``removed_agents``: how
    many threads use each agent that is no longer in the configuration. ``crashed_tasks``: names of background tasks
    that have ended with an error. ``lookup_problem``: why users can't be looked up. ``security``: what `acpctl doctor`
    shows of the installation's security. ``strays``: how many processes of no known session run.
    ``warm_places``: how many places without an agent wait for the next threads.
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
    config_waiting: Sequence[str] = ()
    outdated: Sequence[OutdatedSessions] = ()
    removed_agents: Mapping[str, int] = msgspec.field(default_factory=dict)
    crashed_tasks: Sequence[str] = ()
    lookup_problem: str | None = None
    open_files: OpenFiles | None = None
    security: tuple[Finding, ...] = ()
    socket_problem: str | None = None
    strays: int = 0
    warm_places: int = 0


class ChatReport(msgspec.Struct, frozen=True, kw_only=True):
    """``chat`` of ``health.get``."""

    platform: str
    connected: bool
    since: str | None
    latency_ms: float | None
    last_heartbeat_ack_seconds: float | None


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ``health.get``, in the order of its keys; ``security`` is ``None`` for those who may only read."""

    status: Status
    live: bool
    ready: bool
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    uptime_seconds: float
    version: str
    state: DaemonState
    chat: ChatReport
    pool: PoolCounts
    loop_lag_ms: float | None
    rss_bytes: int | None
    security: tuple[Finding, ...] | None
    strays: int
    warm_places: int


def checks(inputs: HealthInputs) -> tuple[Check, ...]:
    """All checks, in the documented order."""
    problems = {
        "chat": _chat_problem(inputs),
        "pool": _pool_problem(inputs.pool),
        "drain": _drain_problem(inputs.state),
        "loop": _loop_problem(inputs.loop_lag_ms),
        "config": inputs.config_problem or _restart_needed(inputs.config_waiting),
        "agents": _agents_problem(inputs),
        "store": inputs.store_problem,
        "tasks": _task_problem(inputs.crashed_tasks),
        "users": inputs.lookup_problem,
        "descriptors": _descriptor_problem(inputs.open_files),
        "socket": inputs.socket_problem,
        "strays": _stray_problem(inputs.strays),
        "channels": inputs.chat.channels_problem,
        "commands": inputs.chat.commands_problem,
        "stuck": _stuck_problem(inputs.pool),
    }
    return tuple(Check(name, reason is None, reason) for name, reason in problems.items())


def warnings(inputs: HealthInputs) -> tuple[str, ...]:
    """The names of the checks that are not ok while acpbot itself works all the same."""
    names = _WARNINGS if inputs.config_problem is not None else _WARNINGS | {"config"}
    return tuple(check.name for check in checks(inputs) if not check.ok and check.name in names)


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
        warnings=warnings(inputs),
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
        security=inputs.security,
        strays=inputs.strays,
        warm_places=inputs.warm_places,
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
    return f"all {pool.max} sessions are in use ({states})"


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


def _agents_problem(inputs: HealthInputs) -> str | None:
    problems = [
        f"{_count(len(used.threads), 'session')} still {'uses' if len(used.threads) == 1 else 'use'} the earlier "
        f"{', '.join(used.keys)} of agent {used.agent!r} ({_some(used.threads)}): kill or suspend "
        f"{'it' if len(used.threads) == 1 else 'them'}"
        for used in inputs.outdated
    ]
    problems += [
        f"{_count(count, 'thread')} {'has' if count == 1 else 'have'} agent {name!r}, which is no longer in the "
        "configuration: choose another one there with /agent"
        for name, count in inputs.removed_agents.items()
    ]
    return "; ".join(problems[:_PROBLEMS_MOST]) or None


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _some(threads: Sequence[str]) -> str:
    named = ", ".join(threads[:_NAMED_MOST])
    return named if len(threads) <= _NAMED_MOST else f"{named} and {len(threads) - _NAMED_MOST} more"


def _task_problem(crashed: Sequence[str]) -> str | None:
    if not crashed:
        return None
    return f"background tasks have ended with an error: {', '.join(crashed)}; see the log, and restart acpbot"


def _descriptor_problem(files: OpenFiles | None) -> str | None:
    if files is None or files.limit - files.used >= FEW_LEFT:
        return None
    return f"{files.used} of {files.limit} open files are in use; raise LimitNOFILE= (ulimit -n), and restart acpbot"


def _stray_problem(strays: int) -> str | None:
    if not strays:
        return None
    return (
        f"{strays} process{'' if strays == 1 else 'es'} of no known session: acpbot ends them once it can; see the log"
    )


def _restart_needed(keys: Sequence[str]) -> str | None:
    return f"a restart is needed for {', '.join(keys)}" if keys else None


def _stuck_problem(pool: PoolCounts) -> str | None:
    if not pool.stuck:
        return None
    return f"{_count(pool.stuck, 'session')} {'is' if pool.stuck == 1 else 'are'} stuck; see `acpctl sessions --stuck`"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
