"""What shows the committed report: docs/benchmarks.md, its pictures, and a short table in the README.

``python -m tests.benchmarks.page`` writes them.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks import plot, report

if TYPE_CHECKING:
    from tests.benchmarks.report import Report
    from tests.benchmarks.rows import Row

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.parent / "README.md"
_INTRODUCTION = """\
# Benchmarks

`make bench` measures all of this and writes this page, its pictures, the table in the README, and
`tests/benchmarks/results/latest.json`, which has every run. Each figure is the median of five; what it is measured
against runs in turn with it, in the same run, so that a slow machine is slow for both. `make bench ARGS=--quick` is a
short form that shows whether the benchmarks work, `make bench ARGS='cli wire'` runs some of them. A whole run also says
what has moved since the last committed report: a figure has moved where all of its runs are above, or below, all of the
earlier ones, and the medians differ by more than 5 %. Between two machines only ratios are compared.
"""

# The README's rows: the key of a row, and its words there. One that the report has not measured is left out.
_IN_README: Final = {
    "kill.cgroup.obeys": "a kill, until it is verified that 0 processes are left",
    "kill.left": "kills after which a process was left, or that nobody could verify",
    "updates.rate": "updates of an agent handled, in order",
    "updates.stall": "memory that 100,000 unread updates take",
    "memory.session": "memory of the daemon for each idle session",
    "streams.lag": "",
    "restart.start": "start with 10,000 known threads",
    "cli.table": "`acpctl sessions`, whole process",
    "peers.requests": "requests to Discord for one answer",
    "peers.ten.limited": "ten threads at once: requests that Discord refused (429)",
    "peers.after": "whole answer visible after the model's last word",
    "peers.lines": "lines of an answer lost, doubled or moved",
}
_FIGURES: Final = re.compile(r"(<!-- figures: [^\n]*-->\n).*?(<!-- end of the figures -->\n)", re.DOTALL)


def short_table(found: Report) -> str:
    """Return the README's table, with what it was measured on."""
    rows = {row.key: row for row in found.rows if row.runs}
    judged = [row for row in found.rows if row.holds is not None]
    hold = sum(row.holds is True for row in judged)
    kind = "a short form of the benchmark, whose figures mean little" if found.quick else "medians of five"
    machine = ", ".join(found.machine[name] for name in ("cpu", "cores", "python") if name in found.machine)
    lines = ["| measured | acpbot | beside it |", "|---|---|---|"]
    lines += [_short_row(rows[key], words or rows[key].what) for key, words in _IN_README.items() if key in rows]
    source = f"acpbot {found.version}, {found.date} ({machine}); {kind}."
    goals = f"{hold} of {len(judged)} goals hold: [all figures](docs/benchmarks.md), with their goals, by `make bench`."
    return "\n".join([*lines, "", source, goals]) + "\n"


def _short_row(row: Row, words: str) -> str:
    beside = f"{row.peer}: {_measured(row, row.peer_runs)}" if row.peer_runs else ""
    return f"| {words} | {_measured(row, row.runs)} | {beside} |"


def _measured(row: Row, runs: tuple[float, ...]) -> str:
    middle = statistics.median(runs)
    number = f"{middle:,.0f}" if middle == int(middle) else report.number(middle)
    counted = {"requests", "lines", "kills"}  # the words of the row say what is counted
    return number if row.unit in counted else f"{number} {row.unit}"


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
        README: _FIGURES.sub(
            lambda marks: marks[1] + short_table(found) + marks[2], README.read_text(encoding="utf-8")
        ),
        DOCS / "benchmarks.md": markdown(found),
        DOCS / "pictures" / "benchmarks.svg": plot.bars(found.rows, title),
        DOCS / "pictures" / "curves.svg": plot.curves(found.curves, "What more of it costs"),
    }


def write(found: Report) -> None:
    for path, text in files(found).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(report.from_text(report.COMMITTED.read_text(encoding="utf-8")))
