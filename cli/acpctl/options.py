"""The options before the command, and the parameters that several commands share."""

import os
from datetime import UTC
from typing import Annotated, Literal

import typer

from acpctl import client, socket_paths
from acpctl.errors import CliError
from acpctl.exit_codes import USAGE
from acpctl.render.output import Output
from acpctl.standard_streams import stdout_pipe
from acpctl.text import clean
from acpctl.thread_completion import complete_thread
from acpctl.times import moment, seconds_of

ThreadArgument = Annotated[
    str,
    typer.Argument(
        metavar="THREAD",
        help="The exact id, <#id>, a Discord thread URL, or a unique suffix of four or more characters.",
        autocompletion=complete_thread,
        show_default=False,
    ),
]
ThreadArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="THREAD...",
        help="Exact ids, <#id>, Discord thread URLs, or unique suffixes of four or more characters.",
        autocompletion=complete_thread,
        show_default=False,
    ),
]
OutputFormat = Annotated[
    Literal["table", "json"],
    typer.Option("-o", "--output", help="json is acpbot's answer, one object."),
]


class GlobalOptions:
    """The options before the command. ``timeout``: seconds for one whole exchange with the daemon.

    ``system_path``: the first default path of the daemon's socket.
    """

    def __init__(self, socket: str | None, timeout: float, out: Output, system_path: str) -> None:
        self.socket = socket
        self.timeout = timeout
        self.out = out
        self.system_path = system_path

    def connect(
        self, *, streams: bool = False, early: tuple[str, client.Message] | None = None
    ) -> client.DaemonConnection:
        """Connect to the daemon, and say which one where several run and none is named. Raises ``CliError``.

        ``early``: a request that goes with the connection, as the client has it. ``streams``: the command has nothing
        to do but to write what comes, so it ends once nobody reads that any more.
        """
        path = socket_paths.find_socket(self.socket, os.environ, self.system_path)
        reader = stdout_pipe() if streams else None
        connection = client.DaemonConnection(path, self.timeout, reader=reader, early=early)
        named = self.socket is not None or os.environ.get("ACPBOT_SOCKET")
        if not named and (others := socket_paths.others(path, os.environ, self.system_path)):
            also = ", ".join(map(clean, others))
            self.out.note(f"this is the acpbot at {clean(path)}; another one is at {also} (name one with --socket)")
        return connection


def seconds(text: str | float) -> float:
    """The seconds that the user gives, as ``90``, ``5s`` or ``10m``. Raises a usage error for anything else."""
    found = seconds_of(text) if isinstance(text, str) else text
    if found is None:
        raise typer.BadParameter(f"{clean(text)!r} isn't a number of seconds; give 90, 5s or 10m")
    return found


def utc_time(text: str) -> str:
    """The time that ``10m``, ``2h`` (so long ago) or RFC 3339 names, as the daemon takes it: RFC 3339 in UTC.

    Raises ``CliError`` (exit 2) for anything else.
    """
    at = moment(text)
    if at is None:
        raise CliError(f"cannot read {clean(text)!r} as a time: give 10m, 2h, 3d, or RFC 3339", USAGE)
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def global_options(context: typer.Context) -> GlobalOptions:
    """The options before the command that runs."""
    options = context.obj
    if not isinstance(options, GlobalOptions):
        raise TypeError("only acpctl.command_line runs a command")
    return options
