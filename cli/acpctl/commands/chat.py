"""`acpctl chat`: talk to an agent in this terminal, or over stdin and stdout."""

import base64
import os
import sys
from typing import Annotated, Final

import typer

from acpctl.errors import CliError
from acpctl.exit_codes import USAGE
from acpctl.options import global_options
from acpctl.thread_completion import complete_thread
from acpctl.thread_refs import parse_thread

_RANDOM_BYTES: Final = 5
_NAME_CHARACTERS: Final = 6


def run(
    context: typer.Context,
    thread: Annotated[
        str | None,
        typer.Argument(
            metavar="[THREAD]",
            help="A local thread, new or not. [default: a new one]",
            autocompletion=complete_thread,
        ),
    ] = None,
    *,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Which agent, where the thread is new.")] = None,
) -> int:
    """Talk to an agent here. Without a terminal, the lines of stdin are the prompts."""
    name = new_thread() if thread is None else _local_thread(thread)
    options = global_options(context)
    with options.connect() as connection:
        connection.require("chat.open", "chat")
        if sys.stdin is not None and sys.stdin.isatty() and options.out.terminal:
            from acpctl.chat.terminal_chat import run_terminal_chat  # noqa: PLC0415 - prompt_toolkit loads slowly

            return run_terminal_chat(options, connection, name, agent)
        from acpctl.chat.plain_chat import run_plain_chat  # noqa: PLC0415 - only without a terminal

        return run_plain_chat(options, connection, name, agent)


def new_thread() -> str:
    """An unused thread id: ``local-`` and six random characters of base32."""
    random = base64.b32encode(os.urandom(_RANDOM_BYTES)).decode().lower()
    return f"local-{random[:_NAME_CHARACTERS]}"


def _local_thread(argument: str) -> str:
    """The thread id in ``argument``, which is never a suffix: the thread may be new."""
    ref = parse_thread(argument)
    if ref.exact:
        raise CliError(
            f"cannot chat in {ref.thread} here: it is a Discord thread; `acpctl tail {ref.thread}` follows it", USAGE
        )
    return ref.thread
