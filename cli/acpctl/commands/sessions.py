"""`acpctl sessions`: a row per session."""

from typing import Annotated, Any, Literal

import typer

from acpctl.errors import CliError
from acpctl.exit_codes import DONE, USAGE
from acpctl.options import GlobalOptions, global_options
from acpctl.render.session_rows import session_table, summary
from acpctl.text import clean

SessionState = Literal["starting", "idle", "busy", "waiting", "stuck", "suspended", "closing", "gone"]


def run(
    context: typer.Context,
    *,
    state: Annotated[
        SessionState | None,
        typer.Option(metavar="STATE", help="starting, idle, busy, waiting, stuck, suspended, closing or gone."),
    ] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="The same as --state stuck.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Suspended ones too: no process, but resumable.")] = False,
    output: Annotated[
        Literal["table", "wide", "json"], typer.Option("-o", "--output", help="wide adds processes, ids and owner.")
    ] = "table",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Thread ids only, one a line.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: redraw on a terminal, else one JSON object a line.")
    ] = False,
) -> int:
    """Show the sessions, one row each."""
    if stuck and state not in (None, "stuck"):
        raise CliError(f"cannot show sessions that are both stuck and {state}: give --stuck or --state", USAGE)
    if quiet and (output != "table" or watch):
        raise CliError("cannot print ids only (-q) together with -o or --watch: leave one of them out", USAGE)
    wanted: str | None = "stuck" if stuck else state
    params: dict[str, Any] = {"state": wanted} if wanted else {}
    if everything or wanted == "suspended":
        params["suspended"] = True
    options = global_options(context)
    if watch:
        _watch(options, params, output=output)
        return DONE
    with options.connect() as connection:
        answer = connection.call("sessions.list", params)
        rows = connection.parse_rows(answer, "sessions", "sessions.list")
    out = options.out
    if output == "json":
        out.json(answer)
    elif not rows:
        out.note(f"no session is {wanted}" if wanted else "no sessions")
    elif quiet:
        out.lines(clean(row.get("thread_id")) for row in rows)
    else:
        out.lines(out.table(*session_table(rows, out, wide=output == "wide")))
        if out.terminal and not wanted:
            out.note(summary(rows, answer.get("max_sessions")), "dim")
    return DONE


def _watch(options: GlobalOptions, params: dict[str, Any], *, output: str) -> None:
    from acpctl.live_sessions import LiveSessions  # noqa: PLC0415 - only --watch needs it

    out = options.out
    with options.connect() as connection:
        sessions = LiveSessions(connection, params)
        if not out.terminal or output == "json":
            while not out.reader_gone:
                out.json({"sessions": sessions.rows(), "max_sessions": sessions.max_sessions}, line=True)
                sessions.wait_for_change()
            return
        from acpctl.terminal.screen import redraw_until_quit  # noqa: PLC0415 - the same, and on a terminal

        def lines() -> list[str]:
            rows = sessions.rows()
            head = f"acpbot {connection.version}  {summary(rows, sessions.max_sessions)}"
            table = out.table(*session_table(rows, out, wide=output == "wide")) if rows else ["no sessions"]
            return [head, "", *table]

        redraw_until_quit(connection, lines, sessions.refresh, footer=out.paint("q leaves", "dim"))
