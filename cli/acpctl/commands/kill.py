"""`acpctl kill`: sessions end, and it is told how far that went and what is left."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from acpctl import thread_refs as threads
from acpctl.client import REQUEST_LIMIT, Connection
from acpctl.exit_codes import DENIED, DONE, FAILED, NOT_FOUND, USAGE, Failure
from acpctl.options import Format, Globals, Threads, given
from acpctl.render.output import Output
from acpctl.render.table import Cell, Column
from acpctl.terminal import confirm
from acpctl.text import clean, count, many, number, short_seconds

EPILOG = "Without a terminal: --yes with exact ids, or --all --yes --expect N, which ends all only if they are N."

_MOST_GRACE: Final = 300.0
_UNKNOWN_GRACE: Final = 30.0  # seconds: the daemon does not tell its own setting, which is 5 where nobody changed it
_MOST_TARGETS: Final = 1000
_MOST_BYTES: Final = REQUEST_LIMIT - 1024
_OUTCOMES: Final = {"ended": "green", "already_gone": "dim", "conflict": "yellow", "failed": "alarm"}

Row = dict[str, Any]


def run(
    context: typer.Context,
    thread: Threads = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every session that runs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; takes exact ids only.")] = False,
    expect: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="With --all --yes: how many sessions there are.")
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="For the polite steps, 0 to 300. [default: as acpbot is configured]"),
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="The next message starts a new conversation.")] = False,
    output: Format = "table",
) -> int:
    """End sessions, and all that they started.

    Shows what will end and asks; afterwards it tells how far it had to go, and what is left.
    """
    names = _named(thread or [], everything=everything, yes=yes, expect=expect, grace=grace)
    options = given(context)
    with options.connect() as connection:
        connection.need("sessions.kill", "kill")
        if connection.access == "read":
            raise Failure(
                "cannot kill: your access to this acpbot is read-only; run acpctl as root or as acpbot's user, "
                "or be named in [management] admin_users",
                DENIED,
            )
        rows = _running(connection) if everything else _resolved(connection, names, exact=yes)
    if expect is not None and expect != len(rows):
        raise Failure(
            f"cannot end all sessions: {many(len(rows), 'session')} found, {expect} expected; nothing was ended; "
            "look at `acpctl sessions`",
            USAGE,
        )
    if rows and not yes and not _confirmed(rows, options.out, everything=everything):
        options.out.note("nothing was ended")
        return FAILED
    return _end(options, rows, grace=grace, forget=forget, output=output)


def _named(
    thread: list[str], *, everything: bool, yes: bool, expect: int | None, grace: float | None
) -> list[threads.Name]:
    """The threads that were named; ``Failure`` (exit 2) for what does not go together, or where nobody can be asked."""
    if everything == bool(thread):
        problem = "give THREADs or --all, not both" if thread else "give THREADs, or --all"
        raise Failure(f"cannot kill: {problem}; see `acpctl kill --help`", USAGE)
    if grace is not None and not 0 <= grace <= _MOST_GRACE:
        raise Failure(f"cannot kill with --grace {grace:g}: give 0 to {_MOST_GRACE:g} seconds", USAGE)
    if expect is not None and not (everything and yes):
        raise Failure("cannot use --expect here: it goes with --all --yes", USAGE)
    if everything and yes and expect is None:
        raise Failure(
            "cannot end all sessions without asking: say how many there are with --expect N; see `acpctl sessions`",
            USAGE,
        )
    if not yes:
        confirm.need_terminal(
            "to end all without asking, give --yes --expect N, the number of sessions"
            if everything
            else "to end without asking, give --yes and exact ids"
        )
    return [threads.parse(given) for given in thread]


def _running(connection: Connection) -> list[Row]:
    rows = connection.rows(connection.call("sessions.list"), "sessions", "sessions.list")
    return [row for row in rows if row.get("session_id") is not None]


def _resolved(connection: Connection, names: list[threads.Name], *, exact: bool) -> list[Row]:
    """The session of each name, once. ``Failure`` names every one that can't be ended; nothing is touched then."""
    found: dict[str, Row] = {}
    problems: list[Failure] = []
    for name in names:
        try:
            row = threads.fetch(connection, name)
        except Failure as failure:
            if failure.code != NOT_FOUND:
                raise
            problems.append(failure)
            continue
        thread = clean(row["thread_id"])
        if exact and row["thread_id"] != name.thread:
            advice = f"--yes takes exact ids only, and this one is {thread}"
            problems.append(Failure(f"cannot end {clean(name.given)} without asking: {advice}", USAGE))
        elif row.get("session_id") is None:
            advice = "no process runs for it, its next message starts one"
            problems.append(Failure(f"cannot end {thread}: it is {clean(row.get('state'))}; {advice}", NOT_FOUND))
        found[row["thread_id"]] = row
    if problems:
        lines = [problem.message for problem in problems]
        raise Failure("\n".join([*lines, "nothing was ended"]), max(problem.code for problem in problems))
    return list(found.values())


def _confirmed(rows: list[Row], out: Output, *, everything: bool) -> bool:
    """Whether a person, who was shown ``rows``, says yes. ``Failure`` (exit 2) for a wrong number."""
    if not everything:
        confirm.show(rows, out)
        return confirm.yes(len(rows), out)
    confirm.show_all(rows, out)
    typed = confirm.typed_number(len(rows), out)
    if typed is not None and typed != len(rows):
        raise Failure(f"cannot end all sessions: there are {len(rows)}, not {typed}; nothing was ended", USAGE)
    return typed is not None


def _end(options: Globals, rows: list[Row], *, grace: float | None, forget: bool, output: str) -> int:
    """End exactly what was shown, tell how, and return the exit status."""
    out = options.out
    targets = [{"thread_id": row["thread_id"], "session_id": row["session_id"]} for row in rows]
    settings: Row = {} if grace is None else {"grace_seconds": grace}
    if forget:
        settings["forget"] = True
    if not targets and output != "json":
        out.note("no sessions: there is nothing to end")
        return DONE
    results: list[Row] = []
    problem: Failure | None = None
    try:
        for some in _portions(targets):
            with options.connect() as connection:
                connection.renew((_UNKNOWN_GRACE if grace is None else grace) + options.timeout)
                answer = connection.call("sessions.kill", {"targets": some, **settings})
                results += connection.rows(answer, "results", "sessions.kill")
    except Failure as failure:
        if not results:
            raise
        problem = failure  # what has ended is told all the same
    if output == "json":
        out.json({"results": results})
    else:
        _tell(results, out)
    if problem is not None:
        raise problem
    return _status(targets, results)


def _portions(targets: list[Row]) -> Iterator[list[Row]]:
    """``targets`` in lists that fit into a request: 1,000 at most, and its line is limited."""
    some: list[Row] = []
    used = 0
    for target in targets:
        length = len(str(target).encode()) + 2
        if some and (len(some) == _MOST_TARGETS or used + length > _MOST_BYTES):
            yield some
            some, used = [], 0
        some.append(target)
        used += length
    if some:
        yield some


def _left(result: Row) -> int:
    """How many processes the daemon found afterwards; where it does not say, that is no 0."""
    left = number(result.get("processes_left"))
    return 1 if left is None else int(left)


def _tell(results: list[Row], out: Output) -> None:
    columns = [
        Column("THREAD"),
        Column("OUTCOME"),
        Column("REACHED"),
        Column("ENDED", right=True),
        Column("LEFT", right=True),
        Column("SECONDS", right=True),
    ]
    cells: list[list[Cell]] = [
        [
            (clean(result.get("thread_id")) or "-", "bold"),
            (clean(result.get("outcome")) or "-", _OUTCOMES.get(str(result.get("outcome")), "")),
            (clean(result.get("reached")) or "-", ""),
            (count(result.get("processes_ended")), ""),
            (count(result.get("processes_left")), "alarm" if _left(result) else ""),
            (short_seconds(result.get("seconds")), ""),
        ]
        for result in results
    ]
    out.lines(out.table(columns, cells))
    out.note(_in_words(results))


def _in_words(results: list[Row]) -> str:
    outcomes = [result.get("outcome") for result in results]
    ended = sum(int(number(result.get("processes_ended")) or 0) for result in results)
    told = f"{many(outcomes.count('ended'), 'session')} and {many(ended, 'process', 'processes')} ended"
    parts = [told, f"{many(sum(map(_left, results)), 'process', 'processes')} left"]
    if gone := outcomes.count("already_gone"):
        parts.append(f"{gone} had already gone")
    if conflicts := outcomes.count("conflict"):
        parts.append(f"{conflicts} replaced meanwhile by a new session, which was not touched")
    if failed := outcomes.count("failed"):
        parts.append(f"{failed} failed, see acpbot's log")
    return "; ".join(parts)


def _status(targets: list[Row], results: list[Row]) -> int:
    told = {(result.get("thread_id"), result.get("session_id")): result for result in results}
    answers = [told.get((target["thread_id"], target["session_id"])) for target in targets]
    if any(answer is None for answer in answers):
        raise Failure("cannot tell how all of it ended: acpbot's answer leaves sessions out; see `acpctl sessions`")
    outcomes = [answer.get("outcome") for answer in answers if answer is not None]
    if any(outcome not in ("ended", "already_gone", "conflict") for outcome in outcomes) or any(map(_left, results)):
        return FAILED
    return NOT_FOUND if "conflict" in outcomes else DONE
