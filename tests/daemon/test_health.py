from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from acpbot.chat.platform import ChatFacts
from acpbot.daemon import health
from acpbot.daemon.descriptors import OpenFiles
from acpbot.management.readiness import Check
from acpbot.sessions.views import OutdatedSessions, PoolCounts

LOCAL = ChatFacts(platform="local", connected=True)
DISCORD = ChatFacts(platform="discord", connected=True, since="2026-11-24T00:00:00Z", heartbeat_ack_seconds=12)
EMPTY = PoolCounts(sessions=0, max=4, starting=0, idle=0, busy=0, waiting=0, stuck=0, suspended=0, queued=0)


def inputs(**changes) -> health.HealthInputs:
    plain: dict[str, Any] = {
        "state": "running",
        "version": "0.1.0",
        "uptime_seconds": 61.26,
        "chat": LOCAL,
        "pool": EMPTY,
    }
    return health.HealthInputs(**plain | changes)


def chat(**changes) -> health.HealthInputs:
    return inputs(chat=msgspec.structs.replace(DISCORD, **changes))


def pool(**changes) -> health.HealthInputs:
    return inputs(pool=msgspec.structs.replace(EMPTY, **changes))


def check(name: str, of: health.HealthInputs) -> Check:
    (found,) = [check for check in health.checks(of) if check.name == name]
    return found


REMOVED = "which is no longer in the configuration: choose another one there with /agent"


@pytest.mark.parametrize(
    ("of", "name", "reason"),
    [
        (inputs(), "chat", None),
        (chat(), "chat", None),
        (chat(connected=False, disconnected_seconds=15), "chat", None),
        (chat(connected=False, disconnected_seconds=15.1), "chat", "discord has been disconnected for 15 s"),
        (chat(connected=False, disconnected_seconds=None), "chat", "discord has not been connected yet"),
        (chat(heartbeat_ack_seconds=90), "chat", None),
        (chat(heartbeat_ack_seconds=91), "chat", "discord acknowledged its last heartbeat 91 s ago"),
        (inputs(state="starting"), "chat", "acpbot is starting"),
        (pool(idle=4, sessions=4), "pool", None),
        (pool(busy=3, idle=1, sessions=4), "pool", None),
        (
            pool(busy=1, waiting=1, stuck=1, starting=1, sessions=4),
            "pool",
            "all 4 sessions are in use (1 busy, 1 waiting, 1 stuck, 1 starting)",
        ),
        (pool(busy=4, suspended=9, sessions=4), "pool", "all 4 sessions are in use (4 busy)"),
        (inputs(), "drain", None),
        (inputs(state="draining"), "drain", "acpbot is draining: it takes no new turns"),
        (inputs(state="stopping"), "drain", "acpbot is stopping"),
        (inputs(loop_lag_ms=None), "loop", None),
        (inputs(loop_lag_ms=1000), "loop", None),
        (inputs(loop_lag_ms=1400), "loop", "the event loop was 1.4 s late"),
        (inputs(), "config", None),
        (inputs(config_problem="cannot use it"), "config", "cannot use it"),
        (inputs(), "agents", None),
        (
            inputs(outdated=[OutdatedSessions("pi", ("memory_max", "env"), ("1001",))]),
            "agents",
            "1 session still uses the earlier memory_max, env of agent 'pi' (1001): kill or suspend it",
        ),
        (
            inputs(
                outdated=[OutdatedSessions("pi", ("args",), tuple("abcdefg"))], removed_agents={"old": 2, "rare": 1}
            ),
            "agents",
            (
                "7 sessions still use the earlier args of agent 'pi' (a, b, c, d, e and 2 more): kill or suspend them; "
                f"2 threads have agent 'old', {REMOVED}; 1 thread has agent 'rare', {REMOVED}"
            ),
        ),
        (inputs(), "socket", None),
        (inputs(socket_problem="it was removed"), "socket", "it was removed"),
        (inputs(), "tasks", None),
        (
            inputs(crashed_tasks=["reload", "tick"]),
            "tasks",
            "background tasks have ended with an error: reload, tick; see the log, and restart acpbot",
        ),
        (inputs(), "users", None),
        (inputs(lookup_problem="a lookup hangs"), "users", "a lookup hangs"),
        (inputs(), "descriptors", None),
        (inputs(open_files=OpenFiles(1008, 1024)), "descriptors", None),
        (
            inputs(open_files=OpenFiles(1009, 1024)),
            "descriptors",
            "1009 of 1024 open files are in use; raise LimitNOFILE= (ulimit -n), and restart acpbot",
        ),
    ],
)
def test_each_check_gives_its_reason(of, name, reason):
    assert check(name, of) == Check(name, reason is None, reason)


@pytest.mark.parametrize(
    "of",
    [
        chat(connected=False, disconnected_seconds=16),
        chat(heartbeat_ack_seconds=100),
        pool(busy=4, sessions=4),
        inputs(state="draining"),
        inputs(state="starting"),
    ],
)
def test_a_daemon_that_is_not_ready_is_still_live(of):
    readiness = health.readiness(of)
    assert (readiness.live, readiness.ready, readiness.status) == (True, False, "not_ready")


def test_a_late_loop_is_reported_but_does_not_affect_readiness():
    report = health.report(inputs(loop_lag_ms=5000))
    assert (report.ready, report.status) == (True, "ok")
    assert [c.name for c in report.checks if not c.ok] == ["loop"]
    assert "loop" not in [c.name for c in health.readiness(inputs(loop_lag_ms=5000)).checks]


def test_a_refused_configuration_is_reported_but_does_not_affect_readiness():
    report = health.report(inputs(config_problem="cannot use it"))
    assert (report.ready, report.status) == (True, "ok")
    assert [c.name for c in report.checks if not c.ok] == ["config"]
    assert "config" not in [c.name for c in health.readiness(inputs(config_problem="cannot use it")).checks]


@pytest.mark.parametrize(
    ("of", "line"),
    [
        (pool(), "running: 0 sessions, 0 busy, 0 queued"),
        (pool(sessions=1, busy=1, queued=2), "running: 1 session, 1 busy, 2 queued"),
        (
            inputs(state="draining", pool=pool(sessions=4, idle=1, waiting=2, stuck=1).pool),
            "draining: 4 sessions, 0 busy, 2 waiting, 1 stuck, 0 queued",
        ),
    ],
)
def test_the_summary_is_one_line(of, line):
    assert health.summary(of.state, of.pool) == line


def test_a_disconnect_counts_after_the_configured_grace():
    away = msgspec.structs.replace(DISCORD, connected=False, disconnected_seconds=30)
    assert health.readiness(inputs(chat=away, grace_seconds=60)).ready
    assert not health.readiness(inputs(chat=away, grace_seconds=0)).ready


def test_a_late_heartbeat_counts_as_disconnected():
    assert health.report(chat(heartbeat_ack_seconds=91)).chat.connected is False
    assert health.readiness(chat(heartbeat_ack_seconds=91)).chat_connected is False


def test_the_report_has_the_documented_keys_in_order():
    report = json.loads(msgspec.json.encode(health.report(chat(latency_ms=41.23456))))
    assert list(report) == [
        "status", "live", "ready", "checks", "warnings", "uptime_seconds", "version", "state", "chat", "pool",
        "loop_lag_ms", "rss_bytes", "security", "strays", "warm_places",
    ]  # fmt: skip
    assert report["uptime_seconds"] == 61.3
    assert report["chat"] == {
        "platform": "discord",
        "connected": True,
        "since": "2026-11-24T00:00:00Z",
        "latency_ms": 41.2,
        "last_heartbeat_ack_seconds": 12,
    }
    assert report["checks"][0] == {"name": "chat", "ok": True, "reason": None}


def test_what_costs_nothing_is_a_warning_and_not_a_failure():
    waiting = inputs(config_waiting=["[management] socket", "[log] format"])
    assert check("config", waiting).reason == "a restart is needed for [management] socket, [log] format"
    assert health.warnings(waiting) == ("config",)
    assert health.warnings(inputs(config_problem="cannot use it", config_waiting=["[log] format"])) == ()
    assert health.warnings(inputs(state="starting")) == ()


def test_stuck_sessions_are_counted_and_do_not_decide_readiness():
    stuck = pool(busy=1, stuck=2, sessions=3)
    reason = "2 sessions are stuck; see `acpctl sessions --stuck`"
    assert check("stuck", stuck) == Check("stuck", ok=False, reason=reason)
    assert health.warnings(stuck) == ("stuck",)
    assert health.readiness(stuck).ready
