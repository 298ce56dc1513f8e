"""`acpctl chat`: talk to an agent here."""

import base64
import os
import sys
from typing import Annotated

import typer

from acpctl import thread_refs as threads
from acpctl.chat.chat_client import Talk
from acpctl.client import Connection
from acpctl.completion import threads as complete
from acpctl.exit_codes import USAGE, Failure
from acpctl.options import Globals, given

_RANDOM_BYTES = 5
_NAME_CHARACTERS = 6


def run(
    context: typer.Context,
    thread: Annotated[
        str | None,
        typer.Argument(
            metavar="[THREAD]", help="A local thread, new or not. [default: a new one]", autocompletion=complete
        ),
    ] = None,
    *,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Which agent, where the thread is new.")] = None,
) -> int:
    """Talk to an agent here. Without a terminal, the lines of stdin are the prompts."""
    name = new_thread() if thread is None else _checked(thread)
    options = given(context)
    with options.connect() as connection:
        connection.need("chat.open", "chat")
        if sys.stdin is not None and sys.stdin.isatty() and options.out.terminal:
            return _on_terminal(options, connection, name, agent)
        return _plain(options, connection, name, agent)


def new_thread() -> str:
    """A name that no thread has: ``local-`` and six characters of base32."""
    random = base64.b32encode(os.urandom(_RANDOM_BYTES)).decode().lower()
    return f"local-{random[:_NAME_CHARACTERS]}"


def _checked(thread: str) -> str:
    """The thread as it is to be called; a new one can't be named by a suffix, so none is looked for."""
    name = threads.parse(thread)
    if name.exact:
        raise Failure(
            f"cannot chat in {name.thread} here: it is a Discord thread; `acpctl tail {name.thread}` follows it", USAGE
        )
    return name.thread


def _on_terminal(options: Globals, connection: Connection, name: str, agent: str | None) -> int:
    from acpctl.chat import terminal_view as interactive  # noqa: PLC0415 - one of the two faces is loaded
    from acpctl.chat.live_region import Region  # noqa: PLC0415 - the same

    out = options.out
    terminal = interactive.open_terminal()
    region = Region(terminal.write)
    face = interactive.TerminalFace(out, region)
    talk = Talk(connection, name, face, timeout=options.timeout)
    talk.open(agent)
    doing = "; a turn is running" if talk.busy else ""
    out.note(f"{name}: /help for help, Ctrl-D leaves{doing}", "dim")
    with terminal:
        try:
            status = interactive.converse(connection, talk, face, region, terminal)
            talk.leave()
        finally:
            face.close()
    out.note(f"left; `acpctl chat {name}` picks it up again", "dim")
    return status


def _plain(options: Globals, connection: Connection, name: str, agent: str | None) -> int:
    from acpctl.chat import plain_chat as plain  # noqa: PLC0415 - one of the two faces is loaded

    face = plain.PlainFace(options.out)
    talk = Talk(connection, name, face, timeout=options.timeout)
    options.out.note(f"thread {name}")
    talk.open(agent)
    return plain.converse(connection, talk, face, options.out)
