"""`acpctl kill`: end sessions, and report for each how far that had to go and what is left."""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from acpctl.client import REQUEST_LIMIT, DaemonConnection
from acpctl.errors import CliError
from acpctl.exit_codes import DONE, FAILED, NOT_FOUND, USAGE
from acpctl.options import GlobalOptions, OutputFormat, ThreadArguments, global_options, seconds
from acpctl.quantities import count, number, plural
from acpctl.render.output import Output
from acpctl.render.table import Cell, Column
from acpctl.terminal.confirm import confirm_count, confirm_sessions, require_terminal, wait_for_enter
from acpctl.text import clean
from acpctl.thread_refs import ThreadRef, fetch_session, fetch_sessions, not_running, parse_thread
from acpctl.times import precise_duration

EPILOG = "Without a terminal: --yes with exact ids, or --all --yes --expect N, which ends all only if there are N."

_MAX_GRACE: Final = 300.0  # seconds
_ASSUMED_GRACE: Final = 30.0  # seconds: acpctl cannot read the daemon's own setting, whose default is 5
_MAX_TARGETS: Final = 1000
_MAX_BYTES: Final = REQUEST_LIMIT - 1024
_OUTCOME_STYLES: Final = {"ended": "green", "already_gone": "dim", "conflict": "yellow", "failed": "alert"}
_COLUMNS: Final = (
    Column("THREAD"),
    Column("OUTCOME"),
    Column("REACHED"),
    Column("ENDED", right=True),
    Column("LEFT", right=True),
    Column("SECONDS", right=True),
)

Row = dict[str, Any]


def run(
    context: typer.Context,
    thread: ThreadArguments = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every running session.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; takes exact ids only.")] = False,
    expect: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="With --all --yes: how many sessions you expect.")
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=seconds,
            help="How long a session may take to stop by itself, 0 to 300. [default: as configured]",
        ),
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also forget the conversation; the agent deletes it too.")
    ] = False,
    output: OutputFormat = "table",
) -> int:
    """End sessions, and all that they started.

    Shows what will end and asks first; then says how far it had to go, and what is left.
    """
    _check_usage(thread or [], everything=everything, yes=yes, expect=expect, grace=grace)
    refs = list(map(parse_thread, thread or []))
    options = global_options(context)
    with options.connect() as connection:
        connection.require("sessions.kill", "kill")
        connection.require_admin("kill")
        if everything:
            rows = _running_sessions(connection)
        else:
            rows = fetch_sessions(connection, refs, exact=yes, verb="end", check=not_running, done="ended")
    if expect is not None and expect != len(rows):
        raise CliError(
            f"cannot end all sessions: {plural(len(rows), 'session')} found, {expect} expected; nothing was ended; "
            "look at `acpctl sessions`",
            USAGE,
        )
    if rows and not yes:
        confirmed = confirm_count(rows, options.out) if everything else confirm_sessions(rows, options.out)
        if not confirmed:
            options.out.note("nothing was ended")
            return FAILED
    return _end(options, rows, grace=grace, forget=forget, output=output)


def kill_selected(options: GlobalOptions, row: Row) -> None:
    """Ask about the session that a screen shows, end it, and wait for Enter."""
    out = options.out
    try:
        with options.connect() as connection:
            now = fetch_session(connection, ThreadRef(row["thread_id"], row["thread_id"], exact=True))
        if now.get("session_id") != row.get("session_id"):
            out.note(f"{clean(row['thread_id'])} has a different session now, or none; nothing was ended")
        elif confirm_sessions([now], out):
            _end(options, [now], grace=None, forget=False, output="table")
        else:
            out.note("nothing was ended")
            return
    except CliError as error:
        out.note(error.message)
    except KeyboardInterrupt:
        return
    wait_for_enter("Enter goes back to the list ", out)


def _check_usage(threads: list[str], *, everything: bool, yes: bool, expect: int | None, grace: float | None) -> None:
    """Raise ``CliError`` (exit 2) for options that contradict each other, or where nobody can answer a question."""
    if everything == bool(threads):
        problem = "give THREADs or --all, not both" if threads else "give THREADs, or --all"
        raise CliError(f"cannot kill: {problem}; see `acpctl kill --help`", USAGE)
    if grace is not None and not 0 <= grace <= _MAX_GRACE:
        raise CliError(f"cannot kill with --grace {grace:g}: give 0 to {_MAX_GRACE:g} seconds", USAGE)
    if expect is not None and not (everything and yes):
        raise CliError("cannot use --expect here: it goes with --all --yes", USAGE)
    if everything and yes and expect is None:
        raise CliError(
            "cannot end all sessions without asking: say how many there are with --expect N; see `acpctl sessions`",
            USAGE,
        )
    if not yes:
        require_terminal(
            "to end all without asking, give --yes --expect N, the number of sessions"
            if everything
            else "to end without asking, give --yes and exact ids"
        )


def _running_sessions(connection: DaemonConnection) -> list[Row]:
    rows = connection.parse_rows(connection.call("sessions.list"), "sessions", "sessions.list")
    return [row for row in rows if row.get("session_id") is not None]


def _end(options: GlobalOptions, rows: list[Row], *, grace: float | None, forget: bool, output: str) -> int:
    """End the sessions in ``rows`` and no others, print the results, and return the exit code."""
    out = options.out
    targets = [{"thread_id": row["thread_id"], "session_id": row["session_id"]} for row in rows]
    settings: Row = {} if grace is None else {"grace_seconds": grace}
    if forget:
        settings["forget"] = True
    if not targets and output != "json":
        out.note("no sessions to end")
        return DONE
    results: list[Row] = []
    strays: int | None = None
    problem: CliError | None = None
    asked = False
    try:
        for batch in _batches(targets):
            with options.connect() as connection:
                asked = True
                connection.reset_deadline((_ASSUMED_GRACE if grace is None else grace) + options.timeout)
                answer = connection.call("sessions.kill", {"targets": batch, **settings})
                results += connection.parse_rows(answer, "results", "sessions.kill")
                found = number(answer.get("strays"))
                strays = None if found is None else int(found)
    except KeyboardInterrupt:
        out.note("acpbot keeps ending them; see `acpctl sessions`" if asked else "nothing was ended")
        raise
    except CliError as error:
        if not results:
            raise
        problem = error  # raised after the results of the earlier batches are printed
    if output == "json":
        out.json({"results": results} if strays is None else {"results": results, "strays": strays})
    status = _report(out, results, strays or 0, table=output != "json")
    if problem is not None:
        raise problem
    _check_complete(targets, results)
    return status


def _batches(targets: list[Row]) -> Iterator[list[Row]]:
    """``targets`` in lists that the daemon accepts in one request: at most 1,000, on a line of limited length."""
    batch: list[Row] = []
    used = 0
    for target in targets:
        length = len(str(target).encode()) + 2
        if batch and (len(batch) == _MAX_TARGETS or used + length > _MAX_BYTES):
            yield batch
            batch, used = [], 0
        batch.append(target)
        used += length
    if batch:
        yield batch


def _report(out: Output, results: list[Row], strays: int, *, table: bool) -> int:
    """Print a table of ``results`` and a summary (with ``table``); return the exit code.

    Where nobody could look, or the daemon does not say how many processes are left, that is not 0.
    """
    cells: list[list[Cell]] = []
    outcomes: Counter[str] = Counter()
    ended = left = unverified = 0
    for result in results:
        outcome = clean(result.get("outcome")) or "-"
        remaining = number(result.get("processes_left"))
        outcomes[outcome] += 1
        ended += int(number(result.get("processes_ended")) or 0)
        left += int(remaining or 0)
        unverified += remaining is None
        cells.append(
            [
                (clean(result.get("thread_id")) or "-", "bold"),
                (outcome, _OUTCOME_STYLES.get(outcome, "")),
                (clean(result.get("reached")) or "-", ""),
                (count(result.get("processes_ended")), ""),
                ("unknown" if remaining is None else count(remaining), "" if remaining == 0 else "alert"),
                (precise_duration(result.get("seconds")), ""),
            ]
        )
    parts = [f"{plural(outcomes['ended'], 'session')} and {plural(ended, 'process', 'processes')} ended"]
    if left or not unverified:
        parts.append(f"{plural(left, 'process', 'processes')} left")
    if unverified:
        of = "" if unverified == len(results) else f" of {plural(unverified, 'session')}"
        parts.append(f"acpbot could not verify that nothing{of} is left")
    if strays:
        parts.append(f"{plural(strays, 'process', 'processes')} of no known session, see `acpctl health`")
    if outcomes["already_gone"]:
        parts.append(f"{outcomes['already_gone']} had already gone")
    if outcomes["conflict"]:
        parts.append(f"{outcomes['conflict']} replaced meanwhile by a new session, which was not touched")
    if outcomes["failed"]:
        parts.append(f"{outcomes['failed']} failed, see acpbot's log")
    if table:
        out.lines(out.table(_COLUMNS, cells))
        out.note("; ".join(parts))
    done = outcomes["ended"] + outcomes["already_gone"] + outcomes["conflict"]
    if left or unverified or done < len(results):
        return FAILED
    return NOT_FOUND if outcomes["conflict"] else DONE


def _check_complete(targets: list[Row], results: list[Row]) -> None:
    """Raise ``CliError`` where ``results`` leave one of ``targets`` out."""
    answered = set()
    for result in results:
        answered.add((result.get("thread_id"), result.get("session_id")))
    for target in targets:
        if (target["thread_id"], target["session_id"]) not in answered:
            raise CliError(
                "cannot tell how everything ended: acpbot's answer leaves sessions out; see `acpctl sessions`"
            )
