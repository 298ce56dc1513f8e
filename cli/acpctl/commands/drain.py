"""`acpctl drain`: no new turns; the running ones end."""

import time
from typing import Annotated, Any, Final

import typer

from acpctl.client import Connection
from acpctl.exits import DONE, TIMED_OUT, USAGE, Failure
from acpctl.options import Format, Globals, given
from acpctl.text import clean, many, number

_LOOK_SECONDS: Final = 0.25
_RUNNING: Final = ("starting", "busy", "waiting", "stuck", "queued")


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
        if wait:
            _wait(connection, options, deadline)
    if output == "json":
        options.out.json(answer)
    else:
        ended = ", no turn is running" if wait else ""
        options.out.data((clean(answer.get("state")) or "done") + ended)
    return DONE


def _wait(connection: Connection, options: Globals, deadline: float | None) -> None:
    """Until nothing runs. ``Failure`` (exit 7) where that takes longer than the deadline and one exchange."""
    until = None if deadline is None else time.monotonic() + deadline + options.timeout
    told = -1
    while True:
        connection.renew()
        pool = connection.call("health.get").get("pool")
        if not isinstance(pool, dict):
            raise Failure("cannot wait for the drain: acpbot does not tell how many turns are running")
        left = sum(int(number(pool.get(name)) or 0) for name in _RUNNING)
        if left == 0:
            return
        if left != told:
            options.out.note(f"waiting for {many(left, 'turn')} to end")
            told = left
        if until is not None and time.monotonic() > until:
            raise Failure(
                f"cannot wait any longer: {many(left, 'turn')} still running {deadline:g} s after the drain began; "
                "see `acpctl sessions`, and end them with `acpctl kill`",
                TIMED_OUT,
            )
        connection.arrived(_LOOK_SECONDS)
