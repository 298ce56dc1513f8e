"""`acpctl drain`: let the running turns end, begin no new ones."""

import time
from typing import Annotated, Any, Final

import typer

from acpctl.client import IN_TURN, DaemonConnection
from acpctl.errors import CliError
from acpctl.exit_codes import DONE, INTERRUPTED, NOT_FOUND, TIMED_OUT, USAGE
from acpctl.options import GlobalOptions, OutputFormat, global_options, seconds
from acpctl.quantities import plural, whole_number
from acpctl.text import clean

_POLL_SECONDS: Final = 0.25
_MAX_DEADLINE: Final = 86_400.0  # seconds: a day


def run(
    context: typer.Context,
    *,
    off: Annotated[bool, typer.Option("--off", help="Take new turns again.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return once no turn is running or queued.")] = False,
    deadline: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", parser=seconds, help="Cancel the turns that still run after this time."),
    ] = None,
    output: OutputFormat = "table",
) -> int:
    """Take no new turns, and let running ones finish.

    The daemon keeps running; --off takes new turns again.
    """
    if off and (wait or deadline is not None):
        raise CliError("cannot wait for the end of a drain that --off ends: leave out --wait and --deadline", USAGE)
    if deadline is not None and not 0 <= deadline <= _MAX_DEADLINE:
        raise CliError(f"cannot drain with --deadline {deadline:g}: give 0 to 86,400 seconds", USAGE)
    params: dict[str, Any] = {"on": not off}
    if deadline is not None:
        params["deadline_seconds"] = deadline
    options = global_options(context)
    with options.connect() as connection:
        connection.require("daemon.drain", "drain")
        connection.require_admin("drain")
        if wait:
            connection.require("health.get", "wait for the drain")
        answer = connection.call("daemon.drain", params)
        try:
            if wait:
                _wait_until_idle(connection, options, deadline)
        except KeyboardInterrupt:
            options.out.note("the drain goes on; `acpctl drain --off` ends it")
            return INTERRUPTED
    if output == "json":
        options.out.json(answer)
    else:
        ended = ", no turn is running" if wait else ""
        options.out.data((clean(answer.get("state")) or "done") + ended)
    return DONE


def _wait_until_idle(connection: DaemonConnection, options: GlobalOptions, deadline: float | None) -> None:
    """Return once no turn runs and none is queued.

    Raises ``CliError``: exit 7 where that takes longer than the deadline and one exchange, 5 where the drain ends.
    """
    until = None if deadline is None else time.monotonic() + deadline + options.timeout
    most = 0
    with options.out.progress("draining") as show:
        while True:
            running, queued = _count_turns(connection)
            left = running + queued
            if left == 0:
                return
            most = max(most, left)
            show(most - left, most, f"{plural(running, 'turn')} running, {queued} queued")
            if until is not None and time.monotonic() > until:
                raise CliError(
                    f"cannot wait any longer: {plural(left, 'turn')} left {deadline:g} s after the drain began; "
                    "see `acpctl sessions`, and end them with `acpctl kill`",
                    TIMED_OUT,
                )
            connection.receive(_POLL_SECONDS)


def _count_turns(connection: DaemonConnection) -> tuple[int, int]:
    """How many turns run, and how many are queued."""
    connection.reset_deadline()
    health = connection.call("health.get")
    if health.get("state") == "running":
        raise CliError("cannot wait for the drain: somebody has ended it; see `acpctl health`", NOT_FOUND)
    pool = health.get("pool")
    if not isinstance(pool, dict):
        raise CliError("cannot wait for the drain: acpbot does not say how many turns are running")
    return sum(whole_number(pool.get(state)) for state in IN_TURN), whole_number(pool.get("queued"))
