"""All benchmarks, each in a process of its own: ``python -m tests.benchmarks.run [--quick] [NAME ...]``.

It prints a table, and what has moved since the committed report. A whole run writes the report, its page in docs/ and
its pictures; one with ``--quick`` or with names writes nothing but what ``--output`` names.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import page, report
from tests.benchmarks.comparison import broken_goals, moves
from tests.benchmarks.rows import Row, Size, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.report import Report
    from tests.benchmarks.rows import Result

NAMES = (
    "cli",
    "wire",
    "updates",
    "floods",
    "floods_daemon",
    "memory",
    "streams",
    "turns",
    "kill",
    "runtimes",
    "pods",
    "restart",
    "peers",
    "curves",
)


def child(name: str, size: Size) -> None:
    """Measure one of them, in this process; each result is a line of JSON on stdout."""
    module = importlib.import_module(f"tests.benchmarks.bench_{name}")
    for result in module.results(size):
        print(json.dumps(to_json(result)), flush=True)


def measure(name: str, size: Size) -> tuple[list[Result], str | None]:
    """Measure one of them in a process of its own; its results, and where it failed the last line of why."""
    argv = [sys.executable, "-m", "tests.benchmarks.run", "--child", *(["--quick"] if size.quick else []), name]
    found = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            found.append(from_json(json.loads(line)))
            print(f"  {_short(found[-1])}", file=sys.stderr, flush=True)
        errors = process.stderr.read()
    if process.returncode == 0:
        return found, None
    print(errors, file=sys.stderr)
    return found, (errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1]


def _short(result: Result) -> str:
    words = report.cells(result) if isinstance(result, Row) else report.curve_lines(result)
    return "  ".join(word.strip() for word in words if word)


def compare(before: Report, now: Report) -> list[str]:
    """Return in words what differs from the committed report."""
    same = before.machine == now.machine
    moved = moves(before.results, now.results, same_machine=same)
    where = "on the same machine" if same else "on another machine, so only ratios are compared"
    lines = [f"compared with the report of {before.date}, {where}:"]
    lines += [f"  {move}" for move in moved] or ["  nothing has moved by more than the noise"]
    return lines + [f"  its goal no longer holds: {what}" for what in broken_goals(before.results, now.results)]


def run(names: Sequence[str], size: Size) -> Report:
    """Measure these, one after the other."""
    results, failed = [], {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found, why = measure(name, size)
        results += found
        if why is not None:
            failed[name] = why
    return report.make(results, quick=size.quick, failed=failed)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 where every benchmark ran and every goal that held before holds."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description="Measure acpbot.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small numbers, few rounds")
    parser.add_argument("--output", type=Path, help="write the report here")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"cannot measure {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    size = Size(quick=options.quick)
    if options.child:
        child(options.names[0], size)
        return 0
    before = report.from_text(report.COMMITTED.read_text()) if report.COMMITTED.exists() else None
    now = run(options.names or NAMES, size)
    print(report.whole(now))
    if before is not None and before.quick == options.quick:
        print("", *compare(before, now), sep="\n")
    if options.output is not None:
        options.output.write_text(report.to_text(now))
    elif not options.quick and not options.names:
        report.COMMITTED.write_text(report.to_text(now))
        page.write(now)
    worse = not options.quick and before is not None and broken_goals(before.results, now.results)
    return 1 if now.failed or worse else 0


if __name__ == "__main__":
    sys.exit(main())
