"""`acpctl cancel`: the running turn ends, the session stays."""

import typer

from acpctl import thread_refs as threads
from acpctl.exit_codes import DONE
from acpctl.options import Format, Thread, given
from acpctl.text import clean


def run(context: typer.Context, thread: Thread, *, output: Format = "table") -> int:
    """Cancel the turn that runs in a session.

    The session stays.
    """
    name = threads.parse(thread)
    options = given(context)
    out = options.out
    with options.connect() as connection:
        connection.need("sessions.cancel", "cancel")
        row = threads.fetch(connection, name)
        # The session that was found and no other: a turn of the one that may have replaced it is not ours to end.
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
        doing = clean(row.get("activity"))
        out.data(f"{found}  {clean(answer.get('outcome')) or 'cancelled'}" + (f": {doing}" if doing else ""))
    return DONE
