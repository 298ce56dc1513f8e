"""`acpctl sessions`: one row a session."""

from typing import Annotated, Any, Literal

import typer

from acpctl.exit_codes import DONE, USAGE, Failure
from acpctl.options import Globals, given
from acpctl.render.session_rows import session_table, sums
from acpctl.text import clean

State = Literal["starting", "idle", "busy", "waiting", "stuck", "suspended", "closing", "gone"]


def run(
    context: typer.Context,
    *,
    state: Annotated[State | None, typer.Option(metavar="STATE", help="Only those in this state.")] = None,
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
        raise Failure(f"cannot show sessions that are both stuck and {state}: give --stuck or --state", USAGE)
    if quiet and (output != "table" or watch):
        raise Failure("cannot print ids only (-q) together with -o or --watch: leave one of them out", USAGE)
    wanted: str | None = "stuck" if stuck else state
    params: dict[str, Any] = {"state": wanted} if wanted else {}
    if everything or wanted == "suspended":
        params["suspended"] = True
    options = given(context)
    if watch:
        from acpctl.live_sessions import watch_sessions  # noqa: PLC0415 - a plain list needs none of it

        return watch_sessions(options, params, output=output)
    with options.connect() as connection:
        answer = connection.call("sessions.list", params)
        rows = connection.rows(answer, "sessions", "sessions.list")
    _show(options, answer, rows, output=output, quiet=quiet, narrowed=wanted)
    return DONE


def _show(
    options: Globals,
    answer: dict[str, Any],
    rows: list[dict[str, Any]],
    *,
    output: str,
    quiet: bool,
    narrowed: str | None,
) -> None:
    out = options.out
    if output == "json":
        out.json(answer)
    elif not rows:
        out.note(f"no session is {narrowed}" if narrowed else "no sessions")
    elif quiet:
        out.lines(clean(row.get("thread_id")) for row in rows)
    else:
        out.lines(out.table(*session_table(rows, out, wide=output == "wide")))
        if out.terminal and not narrowed:
            out.note(sums(rows, answer.get("max_sessions")), "dim")
