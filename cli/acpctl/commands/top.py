"""`acpctl top`: what the sessions use, on the whole screen."""

import time
from typing import Any, Final

import typer

from acpctl.exit_codes import USAGE, Failure
from acpctl.live_sessions import Live, draw_live
from acpctl.options import given
from acpctl.render.output import Output
from acpctl.render.session_rows import activity, state_cell, sums
from acpctl.render.table import Cell, Column
from acpctl.text import clean, count, duration, home, number, size

_ASK_SECONDS: Final = 1.0  # changes are pushed, but what a session uses is not one
_LEAST_SECONDS: Final = 0.5  # a share of less than that says nothing
_SORTS: Final = {"c": "cpu", "m": "memory", "t": "time"}
_COLUMNS: Final = (
    Column("THREAD"),
    Column("STATE"),
    Column("CPU%", right=True),
    Column("RSS", right=True),
    Column("PROCS", right=True),
    Column("TIME", right=True),
    Column("ACTIVITY", shrink="tail", least=12, good=20),
    Column("CWD", shrink="head", least=10, yields=1.7, optional=True),
)

Row = dict[str, Any]


def run(context: typer.Context) -> int:
    """Show live what the sessions use.

    On the whole screen: c, m and t sort, q leaves.
    """
    options = given(context)
    out = options.out
    if not out.terminal:
        raise Failure("cannot draw: stdout is not a terminal; use `acpctl sessions --watch`", USAGE)
    with options.connect() as connection:
        live = Live(connection, {})
        live.start()
        usage = _Usage()

        def lines() -> list[str]:
            rows = live.rows()
            usage.take(rows)
            head = f"acpbot {connection.version}  {sums(rows, live.limit)}  sorted by {usage.sort}"
            cells = [_cells(row, usage, out) for row in usage.sorted(rows)]
            return [head, "", *(out.table(_COLUMNS, cells) if rows else ["no sessions"])]

        foot = "sort by c cpu, m memory, t time in this state; q leaves"
        return draw_live(options, live, connection, lines, on_key=usage.key, foot=foot, ask_every=_ASK_SECONDS)


class _Usage:
    """CPU as a share of one processor: what was used between two tellings."""

    def __init__(self) -> None:
        self.sort = "cpu"
        self._told: dict[object, tuple[float, float]] = {}
        self._share: dict[object, float] = {}

    def key(self, key: str) -> None:
        self.sort = _SORTS.get(key, self.sort)

    def take(self, rows: list[Row]) -> None:
        now = time.monotonic()
        living = set()
        for row in rows:
            name, used = row.get("session_id"), number(row.get("cpu_seconds"))
            if name is None or used is None:
                continue
            living.add(name)
            at, before = self._told.setdefault(name, (now, used))
            if now - at < _LEAST_SECONDS:
                continue
            if used != before:
                self._share[name] = max(0.0, used - before) / (now - at) * 100
                self._told[name] = (now, used)
            elif now - at > 3 * _ASK_SECONDS:
                self._share[name] = 0.0
                self._told[name] = (now, used)
        self._told = {name: told for name, told in self._told.items() if name in living}
        self._share = {name: share for name, share in self._share.items() if name in living}

    def share(self, row: Row) -> float | None:
        return self._share.get(row.get("session_id"))

    def sorted(self, rows: list[Row]) -> list[Row]:
        def rank(row: Row) -> float:
            if self.sort == "memory":
                return number(row.get("rss_bytes")) or 0
            return _time(row) or 0 if self.sort == "time" else self.share(row) or 0

        return sorted(rows, key=rank, reverse=True)


def _time(row: Row) -> float | None:
    turn = number(row.get("turn_seconds"))
    return number(row.get("idle_seconds")) if turn is None else turn


def _cells(row: Row, usage: _Usage, out: Output) -> list[Cell]:
    share = usage.share(row)
    stuck = row.get("state") == "stuck"
    return [
        (clean(row.get("thread_id")), "bold"),
        state_cell(row, out),
        ("-" if share is None else f"{share:.0f}", ""),
        (size(row.get("rss_bytes")), ""),
        (count(row.get("processes")), ""),
        (duration(_time(row)), ""),
        (activity(row, timed=False) or "-", "alarm" if stuck else ""),
        (home(clean(row.get("cwd")), out.home), "blue"),
    ]
