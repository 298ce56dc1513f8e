"""A report: all results of one run with the machine that they are of; as JSON, and as a table."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acpbot import __version__
from tests.benchmarks.rows import Curve, Result, Row, from_json, rounded, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COMMITTED = Path(__file__).parent / "results" / "latest.json"
_HEADINGS = ("what", "measured", "against", "figure", "goal", "holds")


@dataclass(frozen=True, kw_only=True)
class Report:
    """``machine``: words by name; ``failed``: the benchmarks that ended with an error, and its last line."""

    date: str
    version: str
    quick: bool
    machine: dict[str, str]
    results: tuple[Result, ...]
    failed: dict[str, str]

    @property
    def rows(self) -> list[Row]:
        return [one for one in self.results if isinstance(one, Row)]

    @property
    def curves(self) -> list[Curve]:
        return [one for one in self.results if isinstance(one, Curve)]


def make(results: Iterable[Result], *, quick: bool, failed: dict[str, str]) -> Report:
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return Report(
        date=today, version=__version__, quick=quick, machine=machine(), results=tuple(results), failed=failed
    )


def machine() -> dict[str, str]:
    """Describe this machine, without its name and paths."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model or "unknown",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def to_text(report: Report) -> str:
    """Return the report as JSON, one line for each result so that a diff shows what has changed."""
    head: dict[str, Any] = {
        "date": report.date,
        "version": report.version,
        "quick": report.quick,
        "machine": report.machine,
        "failed": report.failed,
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    results = ",\n".join(f"    {json.dumps(to_json(one), ensure_ascii=False)}" for one in report.results)
    return "\n".join(["{", *lines, '  "results": [', results, "  ]", "}"]) + "\n"


def from_text(text: str) -> Report:
    """Return the report that :func:`to_text` has written."""
    fields = json.loads(text)
    results = tuple(from_json(one) for one in fields.pop("results"))
    return Report(results=results, **fields)


def number(value: float) -> str:
    """Return a number with as many digits as are of use."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row, as the headings have them."""
    figure = row.figure
    if figure is None:
        return (row.what, row.note or "not measured", "", "", _goal(row), "not measured")
    middle = statistics.median(row.runs)
    other = f"{row.peer}: {number(statistics.median(row.peer_runs))} {row.unit}" if row.peer_runs else ""
    holds = {True: "yes", False: "NO", None: ""}[row.holds]
    return (row.what, f"{number(middle)} {row.unit}", other, _figure(row, figure), _goal(row), holds)


def _figure(row: Row, figure: float) -> str:
    match row.judged:
        case "ratio":
            return f"{figure:.2f}x"
        case "difference":
            return f"{'+' if figure >= 0 else ''}{number(figure)} {row.unit}"
    return f"{number(figure)} {row.unit}"


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    sign = ">=" if row.at_least else "<="
    unit = "x" if row.judged == "ratio" else f" {row.unit}"
    return f"{sign} {rounded(row.goal):g}{unit}".rstrip()


def table(rows: Sequence[Row]) -> str:
    """Return the rows in aligned columns."""
    lines = [_HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([drawn[0], "-" * len(drawn[0]), *drawn[1:]])


def curve_lines(curve: Curve) -> list[str]:
    """Return a curve in words: each size with its cost, and where it stops being flat."""
    costs = ", ".join(f"{size:,.0f}: {number(cost)}" for size, cost in curve.medians)
    until = curve.flat_until
    flat = "flat" if until is None else f"no longer flat at {until:,.0f} {curve.along}"
    return [f"{curve.what}, {curve.unit}, by {curve.along}", f"    {costs}", f"    {flat}. {curve.why}".rstrip()]


def whole(report: Report) -> str:
    """Return all of it, as a terminal shows it."""
    kind = "short form, not for comparison" if report.quick else "medians of five"
    lines = [f"acpbot {report.version}, {report.date}, {kind}", ", ".join(report.machine.values()), ""]
    lines.append(table(report.rows))
    for curve in report.curves:
        lines += ["", *curve_lines(curve)]
    notes = [f"{row.what}: {row.note}" for row in report.rows if row.note and row.runs]
    if notes:
        lines += ["", *notes]
    lines += ["", *(f"cannot measure {name}: {why}" for name, why in report.failed.items())] if report.failed else []
    judged = [row for row in report.rows if row.holds is not None]
    lines += ["", f"{sum(row.holds is True for row in judged)} of {len(judged)} goals hold"]
    return "\n".join(lines)
