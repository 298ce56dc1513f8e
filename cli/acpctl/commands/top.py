"""`acpctl top`: what the sessions use, on the whole screen."""

import sys
import time
from functools import partial
from typing import Any, Final

import typer

from acpctl.commands.kill import kill_selected
from acpctl.commands.show import session_page
from acpctl.errors import CliError
from acpctl.exit_codes import DONE, USAGE
from acpctl.live_sessions import POLL_SECONDS, LiveSessions
from acpctl.options import global_options
from acpctl.quantities import count, number, size
from acpctl.render.output import Output
from acpctl.render.session_order import SortKey, seconds_in_state, sort_rows
from acpctl.render.session_rows import activity, state_cell, summary
from acpctl.render.session_table import repeats_thread
from acpctl.render.table import Cell, Column
from acpctl.terminal.session_browser import Parts, browse_sessions
from acpctl.text import abbreviate_home, clean
from acpctl.times import duration

_MIN_SAMPLE_SECONDS: Final = 0.5  # the CPU share of a shorter time is mostly noise
_SORT_KEYS: Final[dict[str, SortKey]] = {"s": "state", "p": "cpu", "m": "memory", "t": "time"}
_COLUMNS: Final = (
    Column("THREAD"),
    Column("STATE"),
    Column("CPU%", right=True, drop=2),
    Column("RSS", right=True),
    Column("PROCS", right=True, optional=True),
    Column("TIME", right=True),
    Column("ACTIVITY", shrink="tail", min_width=12, good_width=36),
    Column("TITLE", shrink="tail", min_width=12, good_width=16, yields=True, drop=1),
    Column("CWD", shrink="head", min_width=10, good_width=12, yields=True, optional=True),
)

Row = dict[str, Any]


def run(context: typer.Context) -> int:
    """Show live what the sessions use.

    On the whole screen: j, k and the arrows select, Enter shows, c cancels, K kills, / filters; s, p, m and t sort by
    state, CPU, memory and time; ? shows all keys, q leaves.
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

        def rows() -> list[Row]:
            found = sessions.rows()
            usage.sample(found)
            return usage.sorted(found)

        def head(found: list[Row]) -> list[str]:
            return [summary(found, sessions.max_sessions), f"sorted by {usage.sort}", f"acpbot {connection.version}"]

        def table(found: list[Row]) -> list[str]:
            columns = _COLUMNS[:-1] if all(map(repeats_thread, found)) else _COLUMNS
            return out.table(columns, [_cells(row, usage, out)[: len(columns)] for row in found])

        parts = Parts(
            rows=rows,
            head=head,
            table=table,
            page=lambda row: session_page(row, out),
            refresh=sessions.refresh,
            kill=lambda row: kill_selected(options, row),
            keys={key: partial(usage.sort_by, order) for key, order in _SORT_KEYS.items()},
            help=[f"{key} by {order}" for key, order in _SORT_KEYS.items()],
        )
        browse_sessions(connection, out, parts)
    return DONE


class _Usage:
    """The CPU use of each session between two samples, in percent of one processor; the order of the rows."""

    def __init__(self) -> None:
        self.sort: SortKey = "state"
        self._samples: dict[object, tuple[float, float]] = {}  # by session id: when, and CPU seconds
        self._percent: dict[object, float] = {}

    def sort_by(self, key: SortKey) -> None:
        self.sort = key

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
        in_order = sort_rows(rows, self.sort)
        return sorted(in_order, key=lambda row: -(self.percent(row) or 0)) if self.sort == "cpu" else in_order


def _cells(row: Row, usage: _Usage, out: Output) -> list[Cell]:
    percent = usage.percent(row)
    stuck = row.get("state") == "stuck"
    return [
        (clean(row.get("thread_id")), "bold"),
        state_cell(row, out),
        ("-" if percent is None else f"{percent:.0f}", ""),
        (size(row.get("rss_bytes")), ""),
        (count(row.get("processes")), ""),
        (duration(seconds_in_state(row)), ""),
        (activity(row, timed=False) or "-", "alert" if stuck else ""),
        (clean(row.get("title")) or "-", "dim"),
        ("" if repeats_thread(row) else abbreviate_home(clean(row.get("cwd")), out.home), "blue"),
    ]
