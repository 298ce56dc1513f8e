"""`acpctl top`: what the sessions use, on the whole screen."""

import sys
import time
from typing import Any, Final

import typer

from acpctl.errors import CliError
from acpctl.exit_codes import DONE, USAGE
from acpctl.live_sessions import POLL_SECONDS, LiveSessions
from acpctl.options import global_options
from acpctl.quantities import count, number, size
from acpctl.render.output import Output
from acpctl.render.session_rows import activity, state_cell, summary
from acpctl.render.table import Cell, Column
from acpctl.terminal.screen import redraw_until_quit
from acpctl.text import abbreviate_home, clean
from acpctl.times import duration

_MIN_SAMPLE_SECONDS: Final = 0.5  # the CPU share of a shorter time is mostly noise
_SORT_KEYS: Final = {"c": "cpu", "m": "memory", "t": "time"}
_COLUMNS: Final = (
    Column("THREAD"),
    Column("STATE"),
    Column("CPU%", right=True),
    Column("RSS", right=True),
    Column("PROCS", right=True),
    Column("TIME", right=True),
    Column("ACTIVITY", shrink="tail", min_width=12, good_width=20),
    Column("CWD", shrink="head", min_width=10, yields=True, optional=True),
)

Row = dict[str, Any]


def run(context: typer.Context) -> int:
    """Show live what the sessions use.

    On the whole screen: c, m and t sort, q leaves.
    """
    options = global_options(context)
    out = options.out
    if not out.terminal:
        dumb = sys.stdout.isatty()
        reason = "this terminal can't be drawn on, as TERM says" if dumb else "stdout is not a terminal"
        raise CliError(f"cannot draw: {reason}; use `acpctl {'sessions' if dumb else 'sessions --watch'}`", USAGE)
    with options.connect() as connection:
        # The daemon pushes changes of state, but not of memory and CPU time.
        sessions = LiveSessions(connection, {}, poll_pushed=True)
        usage = _Usage()

        def lines() -> list[str]:
            rows = sessions.rows()
            usage.sample(rows)
            head = f"acpbot {connection.version}  {summary(rows, sessions.max_sessions)}  sorted by {usage.sort}"
            cells = [_cells(row, usage, out) for row in usage.sorted(rows)]
            return [head, "", *(out.table(_COLUMNS, cells) if rows else ["no sessions"])]

        footer = out.paint("sort by c cpu, m memory, t time in this state; q leaves", "dim")
        redraw_until_quit(connection, lines, sessions.refresh, footer=footer, on_key=usage.on_key)
    return DONE


class _Usage:
    """The CPU use of each session between two samples, in percent of one processor; the order of the rows."""

    def __init__(self) -> None:
        self.sort = "cpu"
        self._samples: dict[object, tuple[float, float]] = {}  # by session id: when, and CPU seconds
        self._percent: dict[object, float] = {}

    def on_key(self, key: str) -> None:
        self.sort = _SORT_KEYS.get(key, self.sort)

    def sample(self, rows: list[Row]) -> None:
        now = time.monotonic()
        running = set()
        for row in rows:
            session, used = row.get("session_id"), number(row.get("cpu_seconds"))
            if session is None or used is None:
                continue
            running.add(session)
            at, before = self._samples.setdefault(session, (now, used))
            if now - at < _MIN_SAMPLE_SECONDS:
                continue
            if used != before:
                self._percent[session] = max(0.0, used - before) / (now - at) * 100
                self._samples[session] = (now, used)
            elif now - at > 3 * POLL_SECONDS:
                self._percent[session] = 0.0
                self._samples[session] = (now, used)
        self._samples = {session: sample for session, sample in self._samples.items() if session in running}
        self._percent = {session: percent for session, percent in self._percent.items() if session in running}

    def percent(self, row: Row) -> float | None:
        return self._percent.get(row.get("session_id"))

    def sorted(self, rows: list[Row]) -> list[Row]:
        def rank(row: Row) -> float:
            if self.sort == "memory":
                return number(row.get("rss_bytes")) or 0
            return _seconds_in_state(row) or 0 if self.sort == "time" else self.percent(row) or 0

        return sorted(rows, key=rank, reverse=True)


def _seconds_in_state(row: Row) -> float | None:
    turn = number(row.get("turn_seconds"))
    return number(row.get("idle_seconds")) if turn is None else turn


def _cells(row: Row, usage: _Usage, out: Output) -> list[Cell]:
    percent = usage.percent(row)
    stuck = row.get("state") == "stuck"
    return [
        (clean(row.get("thread_id")), "bold"),
        state_cell(row, out),
        ("-" if percent is None else f"{percent:.0f}", ""),
        (size(row.get("rss_bytes")), ""),
        (count(row.get("processes")), ""),
        (duration(_seconds_in_state(row)), ""),
        (activity(row, timed=False) or "-", "alert" if stuck else ""),
        (abbreviate_home(clean(row.get("cwd")), out.home), "blue"),
    ]
