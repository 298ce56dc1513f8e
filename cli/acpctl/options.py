"""The options that stand before the command, and the parameters that commands share."""

import os
from typing import Annotated, Literal, NamedTuple

import typer

from acpctl import client
from acpctl import socket_paths as sockets
from acpctl.completion import threads
from acpctl.render.output import Output

Thread = Annotated[
    str,
    typer.Argument(
        metavar="THREAD",
        help="The exact id, <#id>, a Discord thread URL, or a unique suffix of four or more characters.",
        autocompletion=threads,
        show_default=False,
    ),
]
Threads = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="THREAD...",
        help="Exact ids, <#id>, Discord thread URLs, or unique suffixes of four or more characters.",
        autocompletion=threads,
        show_default=False,
    ),
]
Format = Annotated[
    Literal["table", "json"],
    typer.Option("-o", "--output", help="json is acpbot's answer, one object."),
]


class Globals(NamedTuple):
    """What stood before the command. ``timeout``: seconds for one whole exchange."""

    socket: str | None
    timeout: float
    out: Output

    def connect(self) -> client.Connection:
        """A connection to the daemon. Raises ``Failure``."""
        return client.connect(sockets.find(self.socket, os.environ), self.timeout)


def given(context: typer.Context) -> Globals:
    """The options before the command."""
    found = context.obj
    if not isinstance(found, Globals):
        raise TypeError("a command runs below the application of acpctl.command_line")
    return found
