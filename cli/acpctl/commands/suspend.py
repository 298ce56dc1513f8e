"""`acpctl suspend`: end agents' processes, and keep their conversations."""

from typing import Annotated

import typer

from acpctl.commands.restart import end_and_keep
from acpctl.options import OutputFormat, ThreadArguments, global_options


def run(
    context: typer.Context,
    thread: ThreadArguments = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; takes exact ids only.")] = False,
    output: OutputFormat = "table",
) -> int:
    """End sessions and keep their conversations.

    The thread's next message resumes its conversation. Asks first if a turn is running or waiting, because it ends too.
    """
    return end_and_keep(global_options(context), "suspend", thread or [], yes=yes, output=output)
