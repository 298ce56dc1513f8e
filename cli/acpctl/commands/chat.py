"""`acpctl chat`: talk to an agent in this terminal, or over stdin and stdout."""

import base64
import os
import shutil
import sys
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from acpctl.client import DaemonConnection
from acpctl.errors import CliError
from acpctl.exit_codes import FAILED, USAGE
from acpctl.options import GlobalOptions, global_options
from acpctl.thread_completion import complete_agent, complete_thread
from acpctl.thread_refs import parse_thread

_RANDOM_BYTES: Final = 5
_NAME_CHARACTERS: Final = 6
_START_SECONDS: Final = 60.0  # the agent must have started before it lists its conversations


class ChatCommand(TyperCommand):
    """Takes ``--resume`` without a value too, where nothing or another option follows."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments with an empty value after such an option."""
        args = list(args)
        for index, word in enumerate(args):
            if word == "--":
                break
            if word == "--resume" and (index + 1 == len(args) or args[index + 1].startswith("-")):
                args[index] = "--resume="
        return super().parse_args(ctx, args)


COMMAND_CLASS = ChatCommand


def run(
    context: typer.Context,
    thread: Annotated[
        str | None,
        typer.Argument(
            metavar="[THREAD]",
            help="A local thread, new or existing. [default: a new one]",
            autocompletion=complete_thread,
        ),
    ] = None,
    *,
    agent: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which agent to use, if the thread is new.", autocompletion=complete_agent),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[ID]",
            help="Resume a conversation that the agent has in the thread's folder, even one started outside acpbot. "
            "Without ID, and after THREAD, pick from a list.",
        ),
    ] = None,
    temporary: Annotated[
        bool, typer.Option("--temporary", hidden=True, help="The daemon ends with this chat.")
    ] = False,
) -> int:
    """Talk to an agent here. Without a terminal, the lines of stdin are the prompts."""
    name = new_thread() if thread is None else _local_thread(thread)
    options = global_options(context)
    with options.connect() as connection:
        connection.require("chat.open", "chat")
        connection.require_admin("chat")
        terminal = sys.stdin is not None and sys.stdin.isatty() and options.out.terminal
        if resume is not None:
            connection.require("chat.conversations", "resume a conversation")
        if resume == "":
            if not terminal:
                raise CliError(
                    "cannot ask which conversation: there is no terminal; name it: `acpctl chat --resume ID`", USAGE
                )
            resume = _pick(options, connection, name, agent)
            if resume is None:
                options.out.note("nothing was resumed")
                return FAILED
        if terminal:
            from acpctl.chat.terminal_chat import run_terminal_chat  # noqa: PLC0415 - prompt_toolkit loads slowly

            return run_terminal_chat(options, connection, name, agent, resume, temporary=temporary)
        from acpctl.chat.plain_chat import run_plain_chat  # noqa: PLC0415 - only without a terminal

        return run_plain_chat(options, connection, name, agent, resume)


def _pick(options: GlobalOptions, connection: DaemonConnection, thread: str, agent: str | None) -> str | None:
    """Ask which conversation of the thread's agent is meant; its id, ``None`` for none."""
    from acpctl.terminal.pick_conversation import pick_conversation  # noqa: PLC0415 - only with --resume

    connection.call("chat.open", {"thread": thread, **({"agent": agent} if agent else {})})
    connection.reset_deadline(options.timeout + _START_SECONDS)
    answer = connection.call("chat.conversations", {"thread": thread})
    picked = pick_conversation(answer, thread, options.out, shutil.get_terminal_size().columns)
    connection.reset_deadline(options.timeout)
    return picked


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
