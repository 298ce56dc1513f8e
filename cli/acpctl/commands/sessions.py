"""`acpctl sessions`: a row per session."""

import shutil
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, get_args

import typer

from acpctl.client import DaemonConnection, objects
from acpctl.errors import CliError
from acpctl.exit_codes import DONE, USAGE
from acpctl.options import GlobalOptions, global_options
from acpctl.quantities import whole_number
from acpctl.render.session_order import SortKey, is_older, sort_rows
from acpctl.text import clean
from acpctl.thread_completion import complete_agent, complete_owner
from acpctl.times import moment

_MOST_ASKED: Final = 200  # suspended threads; more rows take long

EPILOG = (
    "AGENT and RUNTIME are columns where the sessions have more than one, and with -o wide; a terminal has to have 120 "
    "columns for RUNTIME. Where IDLE would cut ACTIVITY short, the idle time is in ACTIVITY: `for 21s`."
)


class SessionState(StrEnum):
    """The states of a session (docs/protocol.md)."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    WAITING = "waiting"
    STUCK = "stuck"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    GONE = "gone"
    WARM = "warm"


def run(
    context: typer.Context,
    *,
    state: Annotated[
        list[SessionState] | None,
        typer.Option(
            metavar="STATE",
            help="starting, idle, busy, waiting, stuck, suspended, closing or gone; several may be given.",
        ),
    ] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="The same as --state stuck.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Suspended ones too: no process, but resumable.")] = False,
    agent: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only those of this agent.", autocompletion=complete_agent),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only those of this owner.", autocompletion=complete_owner),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only threads older than this: 10m, 2h, 3d, or an RFC 3339 time."),
    ] = None,
    sort: Annotated[
        SortKey,
        typer.Option(
            metavar="KEY",
            help=f"One of {', '.join(get_args(SortKey))}. [default: what needs a person]",
            show_default=False,
        ),
    ] = "state",
    output: Annotated[
        Literal["table", "wide", "json"],
        typer.Option("-o", "--output", help="wide adds agent, runtime, processes, ids and owner."),
    ] = "table",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Thread ids only, one per line.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep watching: redraw on a terminal, else print one JSON object per line.")
    ] = False,
) -> int:
    """Show the sessions, one row each."""
    if quiet and (output != "table" or watch):
        raise CliError("cannot print ids only (-q) together with -o or --watch: leave one of them out", USAGE)
    wanted = tuple(dict.fromkeys([*(["stuck"] if stuck else []), *(one.value for one in state or ())]))
    # The daemon selects by one state; of several, we do.
    named = {"state": wanted[0] if len(wanted) == 1 else None, "agent": agent, "owner": owner}
    params: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if everything or "suspended" in wanted:
        params["suspended"] = True
    view = _View(sort, _before(older_than), wanted)
    options = global_options(context)
    if watch:
        _watch(options, params, view, output=output)
        return DONE
    with options.connect(early=("sessions.list", params)) as connection:
        answer = connection.early_result()
        rows = view.of(connection.parse_rows(answer, "sessions", "sessions.list"))
        out = options.out
        counts = output != "json" and (not rows or (out.terminal and not wanted and not quiet))
        failed = _count_failed(connection, params, answer) if counts else 0
    if output == "json":
        out.json({**answer, "sessions": rows})
        return DONE
    from acpctl.render.session_rows import summary  # noqa: PLC0415 - JSON does not need it
    from acpctl.render.session_table import session_table  # noqa: PLC0415 - the same

    if not rows:
        out.note(_nothing(params, answer.get("suspended"), view, failed))
    elif quiet:
        out.lines(clean(row.get("thread_id")) for row in rows)
    else:
        out.lines(out.table(*session_table(rows, out, wide=output == "wide")))
        if out.terminal and not wanted:
            scrolled = len(rows) > shutil.get_terminal_size().lines - 3  # the header, the summary, the shell's prompt
            word = "stuck (--stuck shows them)" if scrolled else "stuck"
            suspended = answer.get("suspended")
            out.note(summary(rows, answer.get("max_sessions"), suspended, failed=failed, stuck=word), "dim")
    return DONE


def _count_failed(connection: DaemonConnection, params: dict[str, Any], answer: dict[str, Any]) -> int:
    """How many of the suspended threads that are not listed are so after a failure; 0 where there are very many."""
    if params.get("suspended") or not 0 < whole_number(answer.get("suspended")) <= _MOST_ASKED:
        return 0
    from acpctl.render.session_rows import count_failed  # noqa: PLC0415 - JSON does not need it

    wanted = {"suspended": True, **params, "state": "suspended"}
    return count_failed(objects(connection.call("sessions.list", wanted).get("sessions")))


class _View:
    """Which rows are shown, beside what the daemon selects, and in which order. No ``states``: all of them."""

    def __init__(self, sort: SortKey, before: datetime | None, states: tuple[str, ...]) -> None:
        self.sort = sort
        self.before = before
        self.states = states

    def of(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows to show."""
        shown = [row for row in rows if not self.states or row.get("state") in self.states]
        return sort_rows((row for row in shown if self.before is None or is_older(row, self.before)), self.sort)


def _before(older_than: str | None) -> datetime | None:
    if older_than is None:
        return None
    at = moment(older_than)
    if at is None:
        raise CliError(f"cannot read {clean(older_than)!r} as a time: give 10m, 2h, 3d, or RFC 3339", USAGE)
    return at


def _nothing(params: dict[str, Any], suspended: object, view: _View, failed: int) -> str:
    """What is said in place of an empty table."""
    state, found = " or ".join(view.states), 0 if params.get("suspended") else whole_number(suspended)
    from acpctl.render.session_rows import more_suspended, none_run  # noqa: PLC0415 - JSON does not need it

    if params.keys() - {"state", "suspended"} or view.before is not None:
        return f"no session matches{'' if state else more_suspended(found, failed)}"
    return f"no session is {state}" if state else none_run(found, failed)


def _watch(options: GlobalOptions, params: dict[str, Any], view: _View, *, output: str) -> None:
    from acpctl.live_sessions import LiveSessions  # noqa: PLC0415 - only --watch needs it

    out = options.out
    with options.connect(streams=True) as connection:
        sessions = LiveSessions(connection, params)
        if not out.terminal or output == "json":
            while not out.reader_gone:
                out.json({"sessions": view.of(sessions.rows()), "max_sessions": sessions.max_sessions}, line=True)
                sessions.wait_for_change()
            return
        from acpctl.commands.kill import kill_selected  # noqa: PLC0415 - the same, and on a terminal
        from acpctl.commands.show import session_page  # noqa: PLC0415 - the same
        from acpctl.render.session_rows import summary  # noqa: PLC0415 - the same
        from acpctl.render.session_table import session_table  # noqa: PLC0415 - the same
        from acpctl.terminal.session_browser import Parts, browse_sessions  # noqa: PLC0415 - the same

        def head(rows: list[dict[str, Any]]) -> list[str]:
            return [summary(rows, sessions.max_sessions), f"acpbot {connection.version}"]

        parts = Parts(
            rows=lambda: view.of(sessions.rows()),
            head=head,
            table=lambda rows: out.table(*session_table(rows, out, wide=output == "wide")),
            page=lambda row: session_page(row, out),
            refresh=sessions.refresh,
            kill=lambda row: kill_selected(options, row),
            keys={},
            empty=_nothing(params, None, view, 0),
        )
        browse_sessions(connection, out, parts)
