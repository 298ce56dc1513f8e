"""`acpctl restart`: end agents' processes and start them again, with their conversations."""

from typing import Annotated, Any, Final

import typer

from acpctl.client import IN_TURN
from acpctl.errors import CliError
from acpctl.exit_codes import DONE, FAILED, NOT_FOUND, USAGE
from acpctl.options import GlobalOptions, OutputFormat, ThreadArguments, global_options
from acpctl.render.output import Output
from acpctl.render.table import Cell, Column
from acpctl.terminal.confirm import confirm_sessions, require_terminal
from acpctl.text import clean
from acpctl.thread_refs import fetch_sessions, not_running, parse_thread

_END_SECONDS: Final = 30.0  # beside --timeout: acpctl cannot read the daemon's own grace, whose default is 5
_COLUMNS: Final = (Column("THREAD"), Column("OUTCOME"), Column("SESSION"))
_STYLES: Final = {"ended": "green", "already_gone": "dim", "conflict": "yellow", "failed": "alert"}

Row = dict[str, Any]


def run(
    context: typer.Context,
    thread: ThreadArguments = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; takes exact ids only.")] = False,
    output: OutputFormat = "table",
) -> int:
    """End sessions and start the next ones at once.

    The conversation goes on, and queued messages are kept. Asks first if a turn is running, because it ends.
    """
    return end_and_keep(global_options(context), "restart", thread or [], yes=yes, output=output)


def end_and_keep(options: GlobalOptions, verb: str, threads: list[str], *, yes: bool, output: str) -> int:
    """Do ``sessions.suspend`` or ``sessions.restart``, as ``verb`` says, to exactly the sessions that are there now."""
    if not threads:
        raise CliError(f"cannot {verb}: give THREADs; see `acpctl {verb} --help`", USAGE)
    refs = list(map(parse_thread, threads))
    with options.connect() as connection:
        connection.require(f"sessions.{verb}", verb)
        connection.require_admin(verb)
        rows = fetch_sessions(connection, refs, exact=yes, verb=verb, check=not_running)
    busy = [row for row in rows if row.get("state") in IN_TURN or row.get("queued")]
    if busy and not yes:
        require_terminal(f"to {verb} sessions with turns without asking, give --yes and exact ids")
        if not confirm_sessions(busy, options.out, verb=verb.capitalize()):
            options.out.note("nothing was done")
            return FAILED
    return _end(options, verb, rows, output)


def _end(options: GlobalOptions, verb: str, rows: list[Row], output: str) -> int:
    results: list[Row] = []
    problem: CliError | None = None
    try:
        with options.connect() as connection:
            for row in rows:
                connection.reset_deadline(_END_SECONDS + options.timeout)
                target = {"thread": row["thread_id"], "session_id": row["session_id"]}
                results.append({"thread_id": row["thread_id"], **connection.call(f"sessions.{verb}", target)})
    except KeyboardInterrupt:
        options.out.note("acpbot carries on with this; see `acpctl sessions --all`")
        raise
    except CliError as error:
        problem = error  # raised after the results so far are printed
    if output == "json" and (results or problem is None):
        options.out.json({"results": results})
    elif results:
        options.out.lines(options.out.table(_COLUMNS, [_cells(result) for result in results]))
    if problem is not None:
        raise problem
    return _status(results, options.out)


def _cells(result: Row) -> list[Cell]:
    outcome = clean(result.get("outcome")) or "-"
    session = clean(result.get("session_id") or "") or "-"
    return [(clean(result["thread_id"]), "bold"), (outcome, _STYLES.get(outcome, "")), (session, "dim")]


def _status(results: list[Row], out: Output) -> int:
    outcomes = [result.get("outcome") for result in results]
    if any(outcome not in {"ended", "already_gone", "conflict"} for outcome in outcomes):
        out.note("acpbot could not verify that nothing is left; see `acpctl health` and its log")
        return FAILED
    if "conflict" in outcomes:
        out.note("a new session has replaced one meanwhile, which was not touched")
        return NOT_FOUND
    return DONE
