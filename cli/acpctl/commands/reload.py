"""`acpctl reload`: have acpbot read its configuration again, and say what came of it."""

from typing import Any

import typer

from acpctl.exit_codes import DONE
from acpctl.options import OutputFormat, global_options
from acpctl.text import clean

EPILOG = "A file that cannot be used changes nothing, and exits with 1."


def run(context: typer.Context, *, output: OutputFormat = "table") -> int:
    """Have acpbot read its configuration again.

    Waits, and prints what changed and what needs a restart.
    """
    options = global_options(context)
    out = options.out
    with options.connect() as connection:
        connection.require("daemon.reload", "reload")
        connection.require_admin("reload")
        answer = connection.call("daemon.reload")
    if output == "json":
        out.json(answer)
        return DONE
    changed, waiting = _names(answer, "reloaded"), _names(answer, "needs_restart")
    out.data(f"reloaded: {', '.join(changed)}" if changed else "reloaded: nothing has changed")
    if waiting:
        out.note(f"a restart is needed for {', '.join(waiting)}", "yellow")
    return DONE


def _names(answer: dict[str, Any], key: str) -> list[str]:
    names = answer.get(key)
    return [clean(name) for name in names] if isinstance(names, list) else []
