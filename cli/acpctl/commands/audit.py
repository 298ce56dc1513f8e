"""`acpctl audit`: who did what."""

import pwd
from typing import Annotated, Any, Final

import typer

from acpctl.client import DaemonConnection
from acpctl.exit_codes import DONE
from acpctl.options import GlobalOptions, OutputFormat, global_options, utc_time
from acpctl.quantities import number
from acpctl.render.table import Cell, Column
from acpctl.text import clean
from acpctl.thread_completion import complete_thread
from acpctl.thread_refs import parse_thread
from acpctl.times import local_time

_PAGE: Final = 1000
_LATELY: Final = 50
_MOST: Final = 10_000
_COLUMNS: Final = (
    Column("AT"),
    Column("USER"),
    Column("PID", right=True, optional=True),
    Column("METHOD"),
    Column("TARGET", shrink="head", min_width=8, good_width=20),
    Column("OUTCOME", shrink="tail", min_width=8, good_width=20),
)

Entry = dict[str, Any]


def run(
    context: typer.Context,
    *,
    thread: Annotated[
        str | None,
        typer.Option(metavar="THREAD", help="Only entries about this thread.", autocompletion=complete_thread),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only entries since then: 10m, 2h, 3d ago, or RFC 3339.")
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--lines",
            min=1,
            metavar="N",
            help="How many of the latest entries to show. [default: 50, or all since]",
        ),
    ] = None,
    output: OutputFormat = "table",
) -> int:
    """Show who did what.

    Changes, denials, and what acpbot answered to agents by itself; the latest at the end.
    """
    params: dict[str, Any] = {} if thread is None else {"thread": parse_thread(thread).thread}
    after = "" if since is None else utc_time(since)
    count = (_LATELY if since is None else _MOST) if lines is None else lines
    options = global_options(context)
    with options.connect() as connection:
        connection.require("audit.list", "show the audit")
        connection.require_admin("show the audit")
        entries, more = _fetch(connection, options, params, count, after)
    out = options.out
    if output == "json":
        out.json({"entries": entries, "more": more})
    elif entries:
        out.lines(out.table(_COLUMNS, [_cells(entry, terminal=out.terminal) for entry in reversed(entries)]))
        if more and out.terminal:
            out.note("older entries are left out; -n shows more", "dim")
    else:
        out.note("no entries")
    return DONE


def _fetch(
    connection: DaemonConnection, options: GlobalOptions, params: dict[str, Any], count: int, after: str
) -> tuple[list[Entry], bool]:
    """The latest entries, the latest first, and whether there are older ones. ``after``: none of before this time."""
    entries: list[Entry] = []
    while True:
        page = {"limit": min(_PAGE, count - len(entries)), **params}
        if entries:
            page["before"] = entries[-1].get("id")
        connection.reset_deadline(options.timeout)
        answer = connection.call("audit.list", page)
        found = connection.parse_rows(answer, "entries", "audit.list")
        recent = [entry for entry in found if clean(entry.get("at")) >= after]  # times of one form, in UTC
        entries += recent
        if len(recent) < len(found):
            return entries, False
        if not answer.get("more") or not found or len(entries) >= count:
            return entries, bool(answer.get("more"))


def _cells(entry: Entry, *, terminal: bool) -> list[Cell]:
    at, pid = clean(entry.get("at")), number(entry.get("pid"))
    outcome, target = clean(entry.get("outcome")), clean(entry.get("target"))
    if terminal:
        target = target.partition("/")[0]  # the session's id takes the room of the thread's
    return [
        (local_time(at) if terminal else at, "dim"),
        (_user(entry.get("uid")), ""),
        ("-" if pid is None else f"{pid:.0f}", "dim"),
        (clean(entry.get("method")), ""),
        (target or "-", "bold"),
        (outcome, "alert" if outcome in {"denied", "failed"} else ""),
    ]


def _user(uid: object) -> str:
    """The name of a user of this machine, else the number; ``-`` where acpbot did it by itself."""
    found = number(uid)
    if found is None:
        return "-"
    try:
        return clean(pwd.getpwuid(int(found)).pw_name)
    except (KeyError, OverflowError):
        return f"{found:.0f}"
