"""Helm's own engine, in a process of its own: the Go runtime in its library uses signals and threads of its own.

Reads a JSON object from stdin: for each case, the values. Writes for each what Helm made of it:
``{"lint": [...], "files": {template: text}}``, or ``{"lint": [...], "error": "..."}``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import helm_python

CHART = Path(__file__).parents[3] / "packaging" / "helm" / "acpbot"


def made(chart: helm_python.Chart, values: dict[str, Any]) -> dict[str, Any]:
    report = helm_python.lint(CHART, values, strict=True)
    problems = [message["error"] for message in report["messages"]] + report["errors"]
    try:
        chart.validate_schema(values)
        return {"lint": problems, "files": chart.render(values, name="acpbot", namespace="bots")}
    except helm_python.HelmError as error:
        return {"lint": problems, "error": str(error)}


if __name__ == "__main__":
    cases = json.load(sys.stdin)
    with helm_python.Chart.load(CHART) as loaded:
        json.dump({name: made(loaded, values) for name, values in cases.items()}, sys.stdout)
