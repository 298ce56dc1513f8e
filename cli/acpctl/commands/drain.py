"""`acpctl drain`: no new turns; the running ones end."""

import time
from typing import Annotated, Any, Final

import typer

from acpctl.client import Connection
from acpctl.exit_codes import DONE, INTERRUPTED, NOT_FOUND, TIMED_OUT, USAGE, Failure
from acpctl.options import Format, Globals, given
from acpctl.text import clean, many, number

_LOOK_SECONDS: Final = 0.25
_IN_TURN: Final = ("busy", "waiting", "stuck")


def run(
    context: typer.Context,
    *,
    off: Annotated[bool, typer.Option("--off", help="Take turns again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until no turn runs and none is queued.")] = False,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Running turns are cancelled after that time.")
    ] = None,
    output: Format = "table",
) -> int:
    """Take no new turns, let running ones end.

    The daemon runs on; --off takes turns again.
    """
    if off and (wait or deadline is not None):
        raise Failure("cannot wait for the end of a drain that --off ends: leave out --wait and --deadline", USAGE)
    if deadline is not None and not 0 <= deadline <= 86_400:  # noqa: PLR2004 - a day
        raise Failure(f"cannot drain with --deadline {deadline:g}: give 0 to 86,400 seconds", USAGE)
    params: dict[str, Any] = {"on": not off}
    if deadline is not None:
        params["deadline_seconds"] = deadline
    options = given(context)
    with options.connect() as connection:
        connection.need("daemon.drain", "drain")
        if wait:
            connection.need("health.get", "wait for the drain")
        answer = connection.call("daemon.drain", params)
        try:
            if wait:
                _wait(connection, options, deadline)
        except KeyboardInterrupt:
            options.out.note("the drain goes on; `acpctl drain --off` ends it")
            return INTERRUPTED
    if output == "json":
        options.out.json(answer)
    else:
        ended = ", no turn is running" if wait else ""
        options.out.data((clean(answer.get("state")) or "done") + ended)
    return DONE


def _wait(connection: Connection, options: Globals, deadline: float | None) -> None:
    """Until nothing runs.

    ``Failure``: exit 7 where that takes longer than the deadline and one exchange, 5 where somebody ends the drain.
    """
    until = None if deadline is None else time.monotonic() + deadline + options.timeout
    most = 0
    with options.out.progress("draining") as show:
        while True:
            running, queued = _turns(connection)
            left = running + queued
            if left == 0:
                return
            most = max(most, left)
            show(most - left, most, f"{many(running, 'turn')} running, {queued} queued")
            if until is not None and time.monotonic() > until:
                raise Failure(
                    f"cannot wait any longer: {many(left, 'turn')} left {deadline:g} s after the drain began; "
                    "see `acpctl sessions`, and end them with `acpctl kill`",
                    TIMED_OUT,
                )
            connection.arrived(_LOOK_SECONDS)


def _turns(connection: Connection) -> tuple[int, int]:
    """How many turns run, and how many are queued."""
    connection.renew()
    health = connection.call("health.get")
    if health.get("state") == "running":
        raise Failure("cannot wait for the drain: somebody has ended it; see `acpctl health`", NOT_FOUND)
    pool = health.get("pool")
    if not isinstance(pool, dict):
        raise Failure("cannot wait for the drain: acpbot does not tell how many turns are running")
    return sum(int(number(pool.get(name)) or 0) for name in _IN_TURN), int(number(pool.get("queued")) or 0)
