"""`acpctl cancel`: end the running turns, keep the sessions."""

from typing import Any

import typer

from acpctl.errors import CliError
from acpctl.exit_codes import DONE, USAGE
from acpctl.options import OutputFormat, ThreadArguments, global_options
from acpctl.text import clean
from acpctl.thread_refs import fetch_sessions, parse_thread


def run(context: typer.Context, thread: ThreadArguments = None, *, output: OutputFormat = "table") -> int:
    """Cancel the turns that run in sessions.

    The sessions stay.
    """
    if not thread:
        raise CliError("cannot cancel: give THREADs; see `acpctl cancel --help`", USAGE)
    refs = list(map(parse_thread, thread))
    options = global_options(context)
    out = options.out
    answers: list[dict[str, Any]] = []
    with options.connect() as connection:
        connection.require("sessions.cancel", "cancel")
        connection.require_admin("cancel")
        rows = fetch_sessions(connection, refs, exact=False, verb="cancel")
        for row in rows:
            # With the session_id a session that has replaced this one meanwhile keeps its turn.
            target = {"thread": row["thread_id"]}
            if row.get("session_id") is not None:
                target["session_id"] = row["session_id"]
            connection.reset_deadline()
            answers.append(connection.call("sessions.cancel", target))
            if output != "json":
                out.result(clean(row["thread_id"]), _words(row, answers[-1]))
    if output == "json":
        several = [{"thread_id": row["thread_id"], **answer} for row, answer in zip(rows, answers, strict=True)]
        out.json({"results": several} if len(refs) > 1 else answers[0])
    return DONE


def _words(row: dict[str, Any], answer: dict[str, Any]) -> str:
    if answer.get("outcome") == "idle":
        return "no turn is running"
    activity = clean(row.get("activity"))
    return (clean(answer.get("outcome")) or "cancelled") + (f": {activity}" if activity else "")
