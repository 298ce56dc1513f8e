"""A session as people read it: the cells of the tables, the page of `show`, the sums above them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpctl.render.table import Cell, Column
from acpctl.text import clean, count, duration, home, many, number, size, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpctl.render.output import Output

Row = dict[str, Any]

STATES: Final = {
    "starting": "blue",
    "idle": "green",
    "busy": "cyan",
    "waiting": "yellow",
    "stuck": "alarm",
    "suspended": "dim",
    "closing": "magenta",
    "gone": "dim",
}
_HOLLOW: Final = frozenset({"suspended", "gone"})
_IN_TURN: Final = frozenset({"busy", "waiting", "stuck"})

_NARROW: Final = (
    Column("THREAD"),
    Column("STATE"),
    Column("IDLE", right=True),
    Column("QUEUE", right=True),
    Column("ACTIVITY", shrink="tail", least=12, good=32),
    Column("CWD", shrink="head", least=10, good=22, yields=1.7),
)
_TITLE: Final = Column("TITLE", shrink="tail", least=12, yields=1.7, optional=True)
_WIDE: Final = (
    Column("PID", right=True),
    Column("PROCS", right=True),
    Column("RSS", right=True),
    Column("CPU", right=True),
    Column("SESSION", shrink="head", least=9),
    Column("AGENT"),
    Column("OWNER", shrink="tail", least=9),
)


def state_cell(row: Row, out: Output, *, error: bool = False) -> Cell:
    """The state: always a word, on a terminal with a coloured mark before it."""
    state = clean(row.get("state")) or "unknown"
    glyph = "○ " if state in _HOLLOW else "● "
    return out.mark(glyph, error=error) + state, STATES.get(state, "")


def activity(row: Row, *, timed: bool = True) -> str:
    """What a session does, in words: (``timed``) for how long, and what it waits for; empty where it does nothing."""
    state = row.get("state")
    title = clean(row.get("activity"))
    turn = f"{duration(row.get('turn_seconds'))} " if timed else ""
    if state == "waiting":
        return f"{turn}asks: {clean(row.get('waiting_for')) or title or 'a permission'}"
    if state == "stuck":
        return f"silent {duration(row.get('silent_seconds'))}: {title or 'no tool runs'}"
    if state == "busy":
        return f"{turn}{title or 'thinking'}"
    return title


def session_table(
    rows: Sequence[Row], out: Output, *, wide: bool = False, error: bool = False
) -> tuple[list[Column], list[list[Cell]]]:
    """Columns and cells of the sessions; `wide` adds what only an operator wants to know."""
    terminal = out.error_terminal if error else out.terminal
    columns = [*_NARROW, *(_WIDE if wide else ()), _TITLE]
    return columns, [_cells(row, out, wide=wide, error=error, terminal=terminal) for row in rows]


def _cells(row: Row, out: Output, *, wide: bool, error: bool, terminal: bool) -> list[Cell]:
    # In a table for a program, no cell is empty and none holds two spaces: that is what separates them.
    say = clean if terminal else words
    state = row.get("state")
    idle = "-" if state in _IN_TURN else duration(row.get("idle_seconds"))
    queued = number(row.get("queued")) or 0
    cwd = home(clean(row.get("cwd")), out.home) if terminal else words(row.get("cwd"))
    doing = activity(row) or "-"
    cells: list[Cell] = [
        (say(row.get("thread_id")) or "-", "bold"),
        state_cell(row, out, error=error),
        (idle, "dim" if idle == "-" else ""),
        (count(queued), "yellow" if queued else "dim"),
        (doing if terminal else words(doing), "alarm" if state == "stuck" else "dim" if doing == "-" else ""),
        (cwd or "-", "blue"),
    ]
    if wide:
        cells += [
            (count(row.get("pid")), ""),
            (count(row.get("processes")), ""),
            (size(row.get("rss_bytes")), ""),
            (duration(row.get("cpu_seconds")), ""),
            (say(row.get("session_id")) or "-", "dim"),
            (say(row.get("agent")) or "-", ""),
            (say(row.get("owner")) or "-", ""),
        ]
    return [*cells, (say(row.get("title")) or "-", "dim")]


def sums(rows: Sequence[Row], limit: object) -> str:
    """``5 of 32 sessions: 2 busy, 1 stuck, 2 idle``."""
    states = [clean(row.get("state")) for row in rows]
    running = sum(state != "suspended" for state in states)
    most = number(limit)
    total = f"{running} of {many(int(most), 'session')}" if most is not None else many(running, "session")
    order = ("stuck", "waiting", "busy", "starting", "idle", "closing", "suspended")
    parts = [f"{states.count(state)} {state}" for state in order if state in states]
    return f"{total}: {', '.join(parts)}" if parts else total


def facts(row: Row, out: Output) -> list[tuple[str, Cell]]:
    """What `show` says of a session, in reading order; what is unknown is left out."""
    turn, silent = duration(row.get("turn_seconds")), duration(row.get("silent_seconds"))
    owner, platform = clean(row.get("owner")), clean(row.get("platform"))
    resources = (
        f"{many(int(row['processes']), 'process', 'processes')}, {size(row.get('rss_bytes'))} in memory, "
        f"{duration(row.get('cpu_seconds'))} of CPU"
        if number(row.get("processes")) is not None
        else ""
    )
    alive = "alive" if row.get("alive") else "no process"
    pairs: list[tuple[str, Cell]] = [
        ("title", (clean(row.get("title")), "bold")),
        ("activity", (activity(row), "alarm" if row.get("state") == "stuck" else "")),
        ("turn", (f"running for {turn}, silent for {silent}" if turn != "-" else "", "")),
        ("idle", ("" if turn != "-" or row.get("idle_seconds") is None else duration(row["idle_seconds"]), "")),
        ("queued", (many(int(number(row.get("queued")) or 0), "message") if row.get("queued") else "", "yellow")),
        ("turns", (f"{count(row.get('turns'))} finished", "")),
        ("cwd", (home(clean(row.get("cwd")), out.home) if out.terminal else clean(row.get("cwd")), "blue")),
        ("agent", (clean(row.get("agent")), "")),
        ("owner", (f"{owner} on {platform}" if owner else platform, "")),
        ("process", (f"pid {count(row.get('pid'))}, {alive}" if row.get("pid") is not None else alive, "")),
        ("resources", (resources, "")),
        ("session", (clean(row.get("session_id")), "")),
        ("ACP session", (clean(row.get("acp_session_id")), "")),
        ("resumable", ("yes" if row.get("resumable") else "no", "")),
        ("created", (clean(row.get("created_at")), "")),
    ]
    return [(name, cell) for name, cell in pairs if cell[0]]


def process_table(processes: Sequence[Row], out: Output, *, error: bool = False, indent: int = 0) -> list[str]:
    """The process tree: commands are indented by their depth, all of it by ``indent`` columns."""
    columns = [
        Column("PID", right=True),
        Column("S"),
        Column("RSS", right=True),
        Column("CPU", right=True),
        Column("AGE", right=True),
        Column("COMMAND", shrink="tail", least=20),
    ]
    branch = out.mark("└ ", "- ", error=error)
    cells: list[list[Cell]] = []
    for process in processes:
        depth = int(number(process.get("depth")) or 0)
        lead = "  " * (depth - 1) + branch if depth > 0 else ""
        cells.append(
            [
                (count(process.get("pid")), ""),
                (clean(process.get("state"))[:8] or "-", ""),
                (size(process.get("rss_bytes")), ""),
                (duration(process.get("cpu_seconds")), ""),
                (duration(process.get("age_seconds")), ""),
                (lead + clean(process.get("command")), ""),
            ]
        )
    return out.table(columns, cells, error=error, indent=indent)


def calls(row: Row) -> list[str]:
    """The open tool calls of a session, each in a line."""
    found = row.get("tool_calls")
    lines = []
    for call in found if isinstance(found, list) else ():
        if isinstance(call, dict):
            kind = f" ({clean(call['kind'])})" if call.get("kind") else ""
            state = clean(call.get("status")) or "open"
            lines.append(f"{clean(call.get('title'))}{kind}, {state} for {duration(call.get('seconds'))}")
    return lines


def processes(row: Row) -> list[Row]:
    """The process tree in an answer to ``sessions.get``; empty where there is none."""
    found = row.get("process_tree")
    return [process for process in found if isinstance(process, dict)] if isinstance(found, list) else []
