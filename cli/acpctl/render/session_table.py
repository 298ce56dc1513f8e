"""The table of `acpctl sessions`: which columns it has, and what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpctl.client import IN_TURN
from acpctl.quantities import count, number, size
from acpctl.render.session_order import WITHOUT_PROCESS, has_failed
from acpctl.render.session_rows import activity, state_cell
from acpctl.render.table import GAP, Cell, Column
from acpctl.text import abbreviate_home, clean, clean_cell, width
from acpctl.times import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpctl.render.renderer import Renderer

Row = dict[str, Any]

_IDLE: Final = Column("IDLE", right=True)
_QUEUE: Final = Column("QUEUE", right=True, drop=1)
_AGENT: Final = Column("AGENT", shrink="tail", min_width=6, good_width=12, drop=3)
_RUNTIME: Final = Column("RUNTIME", drop=2)
_ACTIVITY: Final = Column("ACTIVITY", shrink="tail", min_width=14, good_width=38)
_TITLE: Final = Column("TITLE", shrink="tail", min_width=12, good_width=20, yields=True, drop=4)
_CWD: Final = Column("CWD", shrink="head", min_width=10, good_width=12, yields=True, optional=True)
_WIDE_COLUMNS: Final = (
    Column("PID", right=True),
    Column("PROCS", right=True),
    Column("RSS", right=True),
    Column("CPU", right=True),
    Column("SESSION", shrink="head", min_width=9),
    Column("OWNER", shrink="tail", min_width=9),
)
_ROOM_FOR_RUNTIME: Final = 120  # columns


def session_table(rows: Sequence[Row], out: Renderer, *, wide: bool = False) -> tuple[list[Column], list[list[Cell]]]:
    """Columns and cells of a table of sessions; ``wide`` adds processes and ids.

    AGENT and RUNTIME are there where there are two, or with ``wide``; RUNTIME not on a terminal below 120 columns. On a
    terminal CWD is left out where it only repeats threads, and IDLE where it would cut ACTIVITY short: the idle time is
    in ACTIVITY then.
    """
    cells = [_cells(row, out) for row in rows]
    roomy = not out.terminal or out.columns() >= _ROOM_FOR_RUNTIME
    columns = [
        Column("THREAD"),
        Column("STATE"),
        _IDLE,
        _QUEUE if any(row.get("queued") for row in rows) else _QUEUE._replace(optional=True),
        *([_AGENT] if wide or _differ(rows, "agent") else []),
        *([_RUNTIME] if wide or (roomy and _differ(rows, "runtime")) else []),
        _ACTIVITY,
        *(_WIDE_COLUMNS if wide else ()),
        _TITLE,
        *([] if out.terminal and all(map(repeats_thread, rows)) else [_CWD]),
    ]
    if out.terminal and _is_crowded(columns, cells, out.columns()):
        columns.remove(_IDLE)
        for one in cells:
            if one["ACTIVITY"][0] == "-" != one["IDLE"][0]:
                one["ACTIVITY"] = (f"for {one['IDLE'][0]}", "dim")
    return columns, [[one[column.title] for column in columns] for one in cells]


def _differ(rows: Sequence[Row], name: str) -> bool:
    return len({row.get(name) for row in rows}) > 1


def _is_crowded(columns: Sequence[Column], cells: Sequence[dict[str, Cell]], limit: int) -> bool:
    """Whether ACTIVITY is cut in a table of ``limit`` columns, which has everything that stays beside it."""
    wanted = {column: max(width(one[column.title][0]) for one in cells) for column in columns}
    fixed = [max(wanted[column], len(column.title)) for column in columns if not (column.shrink or column.optional)]
    agent = [min(wanted[column], column.good_width) for column in columns if column == _AGENT]
    beside = [*fixed, *agent, _TITLE.min_width]
    return limit - sum(beside) - GAP * len(beside) < min(wanted[_ACTIVITY], _ACTIVITY.good_width)


def repeats_thread(row: Row) -> bool:
    """Whether the session works in the folder that is named after its thread."""
    cwd = clean(row.get("cwd"))
    return not cwd or cwd.rpartition("/")[2] == row.get("thread_id")


def _cells(row: Row, out: Renderer) -> dict[str, Cell]:
    # A program splits a piped table at two spaces, so there no cell is empty and none holds two spaces.
    text = clean if out.terminal else clean_cell
    state = row.get("state")
    idle = "-" if state in IN_TURN else duration(row.get("idle_seconds"))
    queued = number(row.get("queued")) or 0
    cwd = "" if repeats_thread(row) else abbreviate_home(clean(row.get("cwd")), out.home)
    doing = activity(row) or "-"
    no_turn = doing == "-" or state in WITHOUT_PROCESS
    return {
        "THREAD": (text(row.get("thread_id")) or "-", "bold"),
        "STATE": state_cell(row, out),
        "IDLE": (idle, "dim" if idle == "-" else ""),
        "QUEUE": (count(queued), "yellow" if queued else "dim"),
        "AGENT": (text(row.get("agent")) or "-", ""),
        "RUNTIME": (text(row.get("runtime")) or "-", ""),
        "ACTIVITY": (
            doing if out.terminal else clean_cell(doing),
            "alert" if state == "stuck" or has_failed(row) else "dim" if no_turn else "",
        ),
        "PID": (count(row.get("pid")), ""),
        "PROCS": (count(row.get("processes")), ""),
        "RSS": (size(row.get("rss_bytes")), ""),
        "CPU": (duration(row.get("cpu_seconds")), ""),
        "SESSION": (text(row.get("session_id")) or "-", "dim"),
        "OWNER": (text(row.get("owner")) or "-", ""),
        "TITLE": (text(row.get("title")) or "-", "dim"),
        "CWD": (cwd if out.terminal else clean_cell(row.get("cwd")), "blue"),
    }
