"""`acpctl cancel`: end the running turn, keep the session."""

import typer

from acpctl.exit_codes import DONE
from acpctl.options import OutputFormat, ThreadArgument, global_options
from acpctl.text import clean
from acpctl.thread_refs import fetch_session, parse_thread


def run(context: typer.Context, thread: ThreadArgument, *, output: OutputFormat = "table") -> int:
    """Cancel the turn that runs in a session.

    The session stays.
    """
    ref = parse_thread(thread)
    options = global_options(context)
    out = options.out
    with options.connect() as connection:
        connection.require("sessions.cancel", "cancel")
        row = fetch_session(connection, ref)
        # With the session_id a session that has replaced this one meanwhile keeps its turn.
        target = {"thread": row["thread_id"]}
        if row.get("session_id") is not None:
            target["session_id"] = row["session_id"]
        answer = connection.call("sessions.cancel", target)
    found = clean(row["thread_id"])
    if output == "json":
        out.json(answer)
    elif answer.get("outcome") == "idle":
        out.data(f"{found}  no turn is running")
    else:
        activity = clean(row.get("activity"))
        out.data(f"{found}  {clean(answer.get('outcome')) or 'cancelled'}" + (f": {activity}" if activity else ""))
    return DONE
