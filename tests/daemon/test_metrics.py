"""``/metrics``: what the page holds, by the parser of Prometheus' own library, and what it never holds."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from acpbot import __version__
from acpbot.daemon.metrics import CONTENT_TYPE, Metrics
from acpbot.sessions.turn import DEFERRED, TurnEnd, TurnFacts
from acpbot.sessions.views import KillResult
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess
from tests.fakes.empty_pool import EmptyPool
from tests.fakes.pool import make_health_inputs, make_row

PROBES = '[management.probes]\nenabled = true\nbind = "127.0.0.1:{port}"\n'


def families(page: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(page)}


def values(family) -> dict[tuple[str, ...], float]:
    return {(sample.name, *sample.labels.values()): sample.value for sample in family.samples}


@pytest.fixture
def metrics():
    empty: Any = EmptyPool()
    return Metrics(empty, make_health_inputs)


def page_of(metrics: Metrics) -> str:
    body, content_type = metrics.page()
    assert content_type == CONTENT_TYPE
    assert content_type.startswith("application/openmetrics-text;")
    return body.decode()


def ended(stop_reason: str, seconds: float = 3.0) -> TurnEnd:
    facts = TurnFacts("claude", "opus", seconds, None, None, None)
    return TurnEnd(stop_reason, facts=facts)


def test_turns_are_counted_by_outcome_and_timed(metrics):
    for end in (ended("end_turn"), ended("end_turn", 400), ended("error"), ended(DEFERRED)):
        metrics.turn_ended(end)
    found = families(page_of(metrics))
    assert values(found["acpbot_turns"]) == {
        ("acpbot_turns_total", "claude", "end_turn"): 2,
        ("acpbot_turns_total", "claude", "error"): 1,
    } | {key: value for key, value in values(found["acpbot_turns"]).items() if key[0].endswith("_created")}
    seconds = values(found["acpbot_turn_duration_seconds"])
    assert seconds["acpbot_turn_duration_seconds_count", "claude"] == 3
    assert seconds["acpbot_turn_duration_seconds_sum", "claude"] == 406
    assert seconds["acpbot_turn_duration_seconds_bucket", "claude", "5.0"] == 2


@pytest.mark.parametrize(
    ("sizes", "expected"), [([], 0), ([None], None), ([None, 5, 7], 12)], ids=["no session", "unknown", "some known"]
)
def test_memory_that_nobody_knows_is_not_counted_as_none(sizes, expected):
    pool: Any = EmptyPool()
    pool.rows = lambda: [make_row(agent="claude", rss_bytes=size) for size in sizes]
    pool.get = lambda _: None
    found = values(families(page_of(Metrics(pool, make_health_inputs)))["acpbot_sessions_resident_memory_bytes"])
    assert found.get(("acpbot_sessions_resident_memory_bytes", "claude")) == expected


def test_an_agent_makes_no_series_by_what_it_sends(metrics):
    for number in range(50):
        metrics.turn_ended(ended(f"because {number}"))
        metrics.discord_answered(f"VERB{number}", 200)
    page = page_of(metrics)
    assert "because" not in page
    assert 'acpbot_turns_total{agent="claude",outcome="other"} 50.0' in page
    assert 'acpbot_discord_requests_total{method="other",status="200"} 50.0' in page


def test_kills_ends_and_answers_of_discord_are_counted(metrics):
    metrics.kill_ended(KillResult(thread_id="1310", session_id="s-1", outcome="ended", seconds=0.2))
    metrics.kill_ended(KillResult(thread_id="1310", session_id="s-1", outcome="already_gone"))
    metrics.session_ended("claude", "crashed")
    metrics.discord_answered("POST", 200)
    metrics.discord_answered("PATCH", 429)
    page = page_of(metrics)
    for line in (
        'acpbot_kills_total{outcome="ended"} 1.0',
        'acpbot_kills_total{outcome="already_gone"} 1.0',
        "acpbot_kill_duration_seconds_count 1.0",
        'acpbot_session_ends_total{agent="claude",reason="crashed"} 1.0',
        'acpbot_discord_requests_total{method="PATCH",status="429"} 1.0',
        "acpbot_discord_rate_limited_total 1.0",
        'acpbot_sessions{agent="claude",runtime="local",state="stuck"} 0.0',
    ):
        assert f"\n{line}\n" in re.sub(
            r'\{agent="claude",state="(\w+)",runtime="local"\}', r'{agent="claude",runtime="local",state="\1"}', page
        ), line
    assert "1310" not in page
    assert "s-1" not in page


def test_names_follow_the_conventions_of_prometheus(metrics):
    metrics.turn_ended(ended("end_turn"))
    metrics.kill_ended(KillResult(thread_id="1", session_id="s", outcome="ended"))
    for family in text_string_to_metric_families(page_of(metrics)):
        assert re.fullmatch(r"acpbot_[a-z_]+", family.name), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_ms", "_milliseconds")), "a suffix of samples"
        assert family.documentation.endswith("."), family.name
        if "duration" in family.name or "lag" in family.name or "latency" in family.name:
            assert family.name.endswith("_seconds"), "base units"
        for sample in family.samples:
            assert set(sample.labels) <= {
                *("agent", "state", "runtime", "outcome", "reason", "method", "status", "check", "le"),
                *("version", "python_version"),
            }


def fetch(port: int) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, "", ""


def test_a_daemon_serves_its_metrics_and_no_names_in_them(tmp_path, unused_tcp_port):
    settings = DEMO_AGENT + PROBES.format(port=unused_tcp_port) + "metrics = true\n"
    with DaemonProcess(tmp_path, settings) as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="secret-thread")
        wire.turn("secret-thread", "say a secret word")
        (row,) = wire.call("sessions.list")["sessions"]
        wire.call("sessions.kill", targets=[{key: row[key] for key in ("thread_id", "session_id")}])
        status, content_type, page = fetch(unused_tcp_port)
    assert (status, content_type) == (HTTPStatus.OK, CONTENT_TYPE)
    found = families(page)
    assert values(found["acpbot_turns"])["acpbot_turns_total", "default", "end_turn"] == 1
    assert values(found["acpbot_kills"])["acpbot_kills_total", "ended"] == 1
    assert found["acpbot_build"].samples[0].labels["version"] == __version__
    assert values(found["acpbot_ready"]) == {("acpbot_ready",): 1}
    sessions = {sample.labels["state"]: sample.value for sample in found["acpbot_sessions"].samples}
    assert sum(sessions.values()) == sessions["suspended"] == 1
    for secret in ("secret", str(tmp_path), row["session_id"], str(row["pid"])):
        assert secret not in page


def test_without_the_key_there_is_no_page_and_no_library(tmp_path, unused_tcp_port):
    with DaemonProcess(tmp_path, DEMO_AGENT + PROBES.format(port=unused_tcp_port)):
        assert fetch(unused_tcp_port)[0] == HTTPStatus.NOT_FOUND
    loaded = "import acpbot.daemon.daemon, acpbot.management.probes, sys; print('prometheus_client' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", loaded]) == b"False\n"
