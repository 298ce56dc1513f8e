"""`acpctl forget`: drop the conversations of suspended threads."""

from typing import Annotated, Any

import typer

from acpctl.errors import CliError
from acpctl.exit_codes import DONE, FAILED, USAGE
from acpctl.options import OutputFormat, ThreadArguments, global_options
from acpctl.quantities import plural
from acpctl.render.session_table import session_table
from acpctl.terminal.confirm import ask, require_terminal
from acpctl.text import clean
from acpctl.thread_refs import fetch_sessions, parse_thread

EPILOG = "A thread with a session: `acpctl kill --forget`."


def run(
    context: typer.Context,
    thread: ThreadArguments = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask; takes exact ids only.")] = False,
    output: OutputFormat = "table",
) -> int:
    """Forget the conversations of suspended threads.

    The next message there starts a new one. With [pool] remove_workspace the thread's folder is deleted.
    """
    if not thread:
        raise CliError("cannot forget: give THREADs; see `acpctl forget --help`", USAGE)
    if not yes:
        require_terminal("to forget without asking, give --yes and exact ids")
    refs = list(map(parse_thread, thread))
    options = global_options(context)
    out = options.out
    with options.connect() as connection:
        connection.require("sessions.forget", "forget")
        connection.require_admin("forget")
        rows = fetch_sessions(connection, refs, exact=yes, verb="forget", check=_runs)
    if not yes:
        for line in out.err.table(*session_table(rows, out.err)):
            out.note(line)
        what = "this conversation" if len(rows) == 1 else f"these {plural(len(rows), 'conversation')}"
        out.note("With [pool] remove_workspace, the folder is deleted too.")
        if ask(f"Forget {what}? [y/N] ", out, interrupted="nothing was forgotten").lower() not in {"y", "yes"}:
            out.note("nothing was forgotten")
            return FAILED
    results: list[dict[str, Any]] = []
    with options.connect() as connection:
        for row in rows:
            connection.reset_deadline()
            results.append(
                {"thread_id": row["thread_id"], **connection.call("sessions.forget", {"thread": row["thread_id"]})}
            )
            if output != "json":
                out.data(f"{clean(row['thread_id'])}  forgotten")
    if output == "json":
        out.json({"results": results})
    return DONE


def _runs(row: dict[str, Any]) -> str:
    if row.get("session_id") is None:
        return ""
    return f"a session runs there; `acpctl kill --forget {clean(row['thread_id'])}` ends it and forgets too"
