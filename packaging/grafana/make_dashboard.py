"""Write dashboard.json into this folder: `make dashboard`. Import it in Grafana: Dashboards, New, Import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("dashboard.json")
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 12, 8
_OF: Final = '{job=~"$job"}'
_TURNS: Final = f"sum by (le) (rate(acpbot_turn_duration_seconds_bucket{_OF}[$__rate_interval]))"

# Title, unit, and what is drawn: (expression, legend).
PANELS: Final[tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]] = (
    ("Sessions by state", "short", ((f"sum by (state) (acpbot_sessions{_OF})", "{{state}}"),)),
    (
        "Sessions that need a person",
        "short",
        (('sum by (state) (acpbot_sessions{job=~"$job", state=~"stuck|waiting"})', "{{state}}"),),
    ),
    (
        "Turns by outcome",
        "ops",
        ((f"sum by (outcome) (rate(acpbot_turns_total{_OF}[$__rate_interval]))", "{{outcome}}"),),
    ),
    (
        "Duration of turns",
        "s",
        tuple(
            (
                f"histogram_quantile({share}, {_TURNS})",
                name,
            )
            for share, name in ((0.5, "median"), (0.95, "95 %"))
        ),
    ),
    (
        "Ends of sessions by reason",
        "short",
        ((f"sum by (reason) (increase(acpbot_session_ends_total{_OF}[$__rate_interval]))", "{{reason}}"),),
    ),
    (
        "Kills by outcome",
        "short",
        ((f"sum by (outcome) (increase(acpbot_kills_total{_OF}[$__rate_interval]))", "{{outcome}}"),),
    ),
    (
        "Discord: requests, and those that came too fast",
        "reqps",
        (
            (f"sum by (status) (rate(acpbot_discord_requests_total{_OF}[$__rate_interval]))", "{{status}}"),
            (f"sum (rate(acpbot_discord_rate_limited_total{_OF}[$__rate_interval]))", "429"),
        ),
    ),
    (
        "Ready, and connected to the chat",
        "short",
        ((f"min(acpbot_ready{_OF})", "ready"), (f"min(acpbot_chat_connected{_OF})", "connected")),
    ),
    (
        "Memory",
        "bytes",
        (
            (f"sum (acpbot_resident_memory_bytes{_OF})", "acpbot"),
            (f"sum by (agent) (acpbot_sessions_resident_memory_bytes{_OF})", "{{agent}}"),
        ),
    ),
    ("Event loop lag", "s", ((f"max(acpbot_event_loop_lag_seconds{_OF})", "lag"),)),
    ("Checks that are not ok", "short", ((f"acpbot_health_check{_OF} == 0", "{{check}}"),)),
    (
        "Queued turns, and processes of no known session",
        "short",
        ((f"sum (acpbot_turns_queued{_OF})", "queued"), (f"sum (acpbot_stray_processes{_OF})", "strays")),
    ),
)


def text() -> str:
    """The dashboard, as Grafana imports it."""
    return json.dumps(_dashboard(), indent=2) + "\n"


def _dashboard() -> dict[str, Any]:
    return {
        "title": "acpbot",
        "uid": "acpbot",
        "tags": ["acpbot"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "job",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": "label_values(acpbot_build_info, job)",
                    "includeAll": True,
                    "allValue": ".*",
                    "refresh": 2,
                },
            ]
        },
        "panels": [_panel(number, *panel) for number, panel in enumerate(PANELS)],
    }


def _panel(number: int, title: str, unit: str, drawn: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    row, column = divmod(number, 2)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(drawn)
        ],
    }


def main() -> None:
    """Write the file."""
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
