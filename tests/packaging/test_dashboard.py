"""The Grafana dashboard is current, and asks only for metrics that acpbot serves."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from acpbot.daemon.metrics import Metrics
from acpbot.sessions.turn import TurnEnd, TurnFacts
from acpbot.sessions.views import KillResult
from tests.fakes.empty_pool import EmptyPool
from tests.fakes.pool import make_health_inputs

MAKER = Path("packaging/grafana/make_dashboard.py")


def test_the_dashboard_is_current():
    made = runpy.run_path(str(MAKER))
    assert made["FILE"].read_text() == made["text"](), "run: make dashboard"


def test_each_panel_asks_for_metrics_that_acpbot_serves():
    pool: Any = EmptyPool()
    metrics = Metrics(pool, make_health_inputs)
    metrics.turn_ended(TurnEnd("end_turn", facts=TurnFacts("claude", None, 1.0, None, None, None)))
    metrics.kill_ended(KillResult(thread_id="1", session_id="s", outcome="ended"))
    metrics.session_ended("claude", "killed")
    metrics.discord_answered("POST", 200)
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.page()[0].decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    panels = json.loads(MAKER.with_name("dashboard.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    for expression in asked:
        (name,) = re.findall(r"acpbot_\w+", expression)
        assert name in samples, expression
        for labels in re.findall(r"by \(([a-z, ]+)\)", expression):
            assert set(labels.split(", ")) <= samples[name], expression
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
