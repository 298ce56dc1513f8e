"""The page of the committed report, docs/benchmarks.md, and its pictures: ``python -m tests.benchmarks.page``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import plot, report

if TYPE_CHECKING:
    from tests.benchmarks.report import Report

DOCS = Path(__file__).parents[2] / "docs"
_INTRODUCTION = """\
# Benchmarks

`make bench` measures all of this and writes this page, its pictures, and `tests/benchmarks/results/latest.json`, which
has every run. Each figure is the median of five; what it is measured against runs in turn with it, in the same run, so
that a slow machine is slow for both. `make bench ARGS=--quick` is a short form that shows whether the benchmarks work,
`make bench ARGS='cli wire'` runs some of them. A whole run also says what has moved since the last committed report:
a figure has moved where all of its runs are above, or below, all of the earlier ones, and the medians differ by more
than 5 %. Between two machines only ratios are compared.
"""


def markdown(found: Report) -> str:
    """Return the page."""
    machine = ", ".join(found.machine.values())
    kind = "a short form, whose figures mean little" if found.quick else "medians of five"
    lines = [
        _INTRODUCTION,
        f"acpbot {found.version}, {found.date}, {machine}; {kind}.\n",
        "![Each figure as a part of what its goal allows](pictures/benchmarks.svg)\n",
        "| what | measured | against | figure | goal | holds |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in report.cells(row))} |" for row in found.rows]
    notes = [f"- {row.what}: {row.note}." for row in found.rows if row.note and row.runs]
    lines += ["", *notes] if notes else []
    lines += [f"- Cannot measure {name}: {why}" for name, why in found.failed.items()]
    if found.curves:
        lines += ["", "## Where it stops being flat", "", "![Costs by size](pictures/curves.svg)", ""]
        lines += ["A curve is flat up to the first size that costs over 1.5 times the least cost before it.", ""]
        lines += [_curve(curve) for curve in found.curves]
    return "\n".join(lines) + "\n"


def _curve(curve: report.Curve) -> str:
    title, costs, flat = (line.strip() for line in report.curve_lines(curve))
    return f"- **{title}**: {costs}. {flat[0].upper()}{flat[1:]}"


def files(found: Report) -> dict[Path, str]:
    """Return what the report is shown by: each file and its text."""
    title = f"acpbot {found.version}: what was promised, and what was measured"
    return {
        DOCS / "benchmarks.md": markdown(found),
        DOCS / "pictures" / "benchmarks.svg": plot.bars(found.rows, title),
        DOCS / "pictures" / "curves.svg": plot.curves(found.curves, "What more of it costs"),
    }


def write(found: Report) -> None:
    for path, text in files(found).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(report.from_text(report.COMMITTED.read_text(encoding="utf-8")))
