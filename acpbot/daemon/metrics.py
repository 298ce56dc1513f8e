"""``/metrics``: counts, gauges and durations of the daemon, as OpenMetrics. Import it only where they are wanted.

No label holds an id, a person's name or a path: they are names of agents of the configuration, and words of acpbot's
own. Source: https://prometheus.io/docs/practices/naming/, https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

from __future__ import annotations

import platform
import time
from collections import Counter as Tally
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.openmetrics import exposition

from acpbot.daemon import health
from acpbot.sessions.turn import DEFERRED
from acpbot.sessions.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from acpbot.daemon.health import HealthInputs
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.turn import TurnEnd
    from acpbot.sessions.views import KillResult, Reason

CONTENT_TYPE: Final = exposition.CONTENT_TYPE_LATEST
PLATFORMS: Final = ("discord", "local")
STATES: Final = ("starting", "idle", "busy", "waiting", "stuck", "closing", "suspended", "warm")
_OUTCOMES: Final = frozenset({"end_turn", "cancelled", "error", "refusal", "max_tokens", "max_turn_requests"})
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_TURN_SECONDS: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_KILL_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_RUNTIME: Final = "local"  # of rows that do not say where their agent runs


class Metrics(Watcher):
    """Counts what it is told, and asks ``pool`` and ``inputs`` for the rest when the page is made."""

    def __init__(self, pool: Pool, inputs: Callable[[], HealthInputs]) -> None:
        self._pool = pool
        self._inputs = inputs
        self._registry = CollectorRegistry(auto_describe=False)
        self._turns = Counter(
            "acpbot_turns", "Turns that have ended, by outcome.", ["agent", "outcome"], registry=self._registry
        )
        self._turn_seconds = Histogram(
            "acpbot_turn_duration_seconds",
            "How long turns ran.",
            ["agent"],
            buckets=_TURN_SECONDS,
            registry=self._registry,
        )
        self._ends = Counter(
            "acpbot_session_ends", "Sessions that have ended, by reason.", ["agent", "reason"], registry=self._registry
        )
        self._kills = Counter(
            "acpbot_kills", "Targets of sessions.kill, by outcome.", ["outcome"], registry=self._registry
        )
        self._kill_seconds = Histogram(
            "acpbot_kill_duration_seconds",
            "How long it took until the end of a session was verified.",
            buckets=_KILL_SECONDS,
            registry=self._registry,
        )
        self._requests = Counter(
            "acpbot_discord_requests",
            "Answers of Discord's API, by HTTP status.",
            ["method", "status"],
            registry=self._registry,
        )
        self._limited = Counter(
            "acpbot_discord_rate_limited", "Answers of Discord's API with status 429.", registry=self._registry
        )
        self._registry.register(_Now(self._families))

    # What is told.

    def turn_ended(self, end: TurnEnd) -> None:
        """Count a turn. One that is kept for the next start has not ended."""
        if end.stop_reason == DEFERRED:
            return
        agent = "" if end.facts is None else end.facts.agent
        # The agent sends the reason: another one than ACP's would be a new series each.
        outcome = end.stop_reason if end.stop_reason in _OUTCOMES else "other"
        self._turns.labels(agent, outcome).inc()
        if end.facts is not None:
            self._turn_seconds.labels(agent).observe(end.facts.seconds)

    def session_ended(self, agent: str, reason: Reason) -> None:
        """Count the end of a session."""
        self._ends.labels(agent, reason).inc()

    def kill_ended(self, result: KillResult) -> None:
        """Count a target of a kill."""
        self._kills.labels(result.outcome).inc()
        if result.outcome in {"ended", "failed"}:
            self._kill_seconds.observe(result.seconds)

    def discord_answered(self, method: str, status: int) -> None:
        """Count an answer of Discord's API."""
        self._requests.labels(method if method in _METHODS else "other", str(status)).inc()
        if status == 429:  # noqa: PLR2004 - too many requests (RFC 6585)
            self._limited.inc()

    # The page.

    def page(self) -> tuple[bytes, str]:
        """The page, and its content type."""
        page: bytes = exposition.generate_latest(self._registry)  # type: ignore[no-untyped-call]  # it has no annotations
        return page, CONTENT_TYPE

    def _families(self) -> Iterator[Metric]:
        inputs = self._inputs()
        yield InfoMetricFamily(
            "acpbot_build",
            "The version of acpbot, and of Python.",
            {"version": inputs.version, "python_version": platform.python_version()},
        )
        yield from self._of_sessions()
        yield from _of_daemon(inputs)

    def _of_sessions(self) -> Iterator[Metric]:
        pool = self._pool
        counts = Tally({(agent, state, _RUNTIME): 0 for agent in pool.agents for state in STATES})
        memory: dict[str, list[int | None]] = {agent: [] for agent in pool.agents}
        for row in pool.rows():
            counts[row.agent, row.state, str(getattr(row, "runtime", None) or _RUNTIME)] += 1
            memory.setdefault(row.agent, []).append(row.rss_bytes)
        for name in PLATFORMS:
            for thread in pool.of_platform(name):
                if pool.get(thread.thread_id) is None:
                    counts[thread.agent, "suspended", _RUNTIME] += 1
        sessions = GaugeMetricFamily(
            "acpbot_sessions", "Sessions now; a suspended one has no process.", labels=["agent", "state", "runtime"]
        )
        for labels, count in sorted(counts.items()):
            sessions.add_metric(labels, count)
        yield sessions
        resident = GaugeMetricFamily(
            "acpbot_sessions_resident_memory_bytes",
            "Memory of the processes of all sessions of which it is known; left out for an agent without such a one.",
            labels=["agent"],
        )
        for agent, sizes in sorted(memory.items()):
            known = [size for size in sizes if size is not None]
            if known or not sizes:
                resident.add_metric([agent], sum(known))
        yield resident
        yield _gauge("acpbot_sessions_max", "How many sessions may have a process at once.", pool.max_sessions)
        yield _gauge("acpbot_turns_queued", "Turns that wait for another one.", pool.counts().queued)


class _Now:
    """A collector of what is so at the moment."""

    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self.collect = families


def _of_daemon(inputs: HealthInputs) -> Iterator[Metric]:
    readiness = health.readiness(inputs)
    yield _gauge("acpbot_start_time_seconds", "Unix time of the start.", time.time() - inputs.uptime_seconds)
    yield _gauge("acpbot_ready", "1 where new turns are taken, as /readyz says.", int(readiness.ready))
    yield _gauge("acpbot_chat_connected", "1 while the chat platform is connected.", int(readiness.chat_connected))
    checks = GaugeMetricFamily("acpbot_health_check", "1 where a check of health.get is ok.", labels=["check"])
    for check in health.checks(inputs):
        checks.add_metric([check.name], int(check.ok))
    yield checks
    yield _gauge("acpbot_stray_processes", "Processes of no known session.", inputs.strays)
    if inputs.loop_lag_ms is not None:
        yield _gauge(
            "acpbot_event_loop_lag_seconds", "The longest delay of the last ten seconds.", inputs.loop_lag_ms / 1000
        )
    if inputs.rss_bytes is not None:
        yield _gauge("acpbot_resident_memory_bytes", "Memory of the daemon itself.", inputs.rss_bytes)
    if inputs.open_files is not None:
        yield _gauge("acpbot_open_files", "Open files of the daemon.", inputs.open_files.used)
        yield _gauge("acpbot_open_files_max", "How many files the daemon may open.", inputs.open_files.limit)
    if inputs.chat.latency_ms is not None:
        yield _gauge(
            "acpbot_chat_heartbeat_latency_seconds",
            "The gateway's answer to a heartbeat.",
            inputs.chat.latency_ms / 1000,
        )


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)
