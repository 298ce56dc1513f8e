"""`acpctl permit`: answer the permission request that waits in a thread."""

from typing import Annotated

import typer

from acpctl.client import objects
from acpctl.errors import CliError
from acpctl.exit_codes import DONE, FAILED, NOT_FOUND, USAGE
from acpctl.options import OutputFormat, ThreadArgument, global_options
from acpctl.render.session_rows import permission_lines
from acpctl.terminal.confirm import ask, require_terminal
from acpctl.terminal.permission_prompt import QUESTION, Option, chosen_option, option_words, show_options
from acpctl.text import clean
from acpctl.thread_refs import fetch_session, parse_thread
from acpctl.times import local_time


def run(
    context: typer.Context,
    thread: ThreadArgument,
    option: Annotated[
        str | None, typer.Argument(metavar="[OPTION]", help="One of the request's options, by its id or its kind.")
    ] = None,
    *,
    allow: Annotated[bool, typer.Option("--allow", help="Allow it once.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Reject it once.")] = False,
    output: OutputFormat = "table",
) -> int:
    """Answer the open permission request of a thread.

    Shows all of it and asks. The thread is told that an admin answered.
    """
    if allow + reject + (option is not None) > 1:
        raise CliError("cannot answer twice: give one of --allow, --reject and OPTION", USAGE)
    asks = not (allow or reject or option)
    if asks:
        require_terminal("to answer without asking, give --allow, --reject or the id of an option")
    ref = parse_thread(thread)
    options = global_options(context)
    out = options.out
    with options.connect() as connection:
        connection.require("sessions.permit", "answer")
        row = fetch_session(connection, ref)
        connection.require_admin("answer")
    found = clean(row["thread_id"])
    permission = row.get("permission")
    if not isinstance(permission, dict):
        what = "; the agent asks a question: answer it in the thread" if isinstance(row.get("question"), dict) else ""
        raise CliError(f"cannot answer: no permission request is open in {found}{what}", NOT_FOUND)
    offered = objects(permission.get("options"))
    if asks:
        for line in permission_lines(row)[:-1]:  # the last one names the answers, which are listed below
            out.note(line)
        out.note(f"It expires at {local_time(clean(permission.get('expires_at')))}.", "dim")
        show_options(offered, out)
        chosen = chosen_option(offered, ask(QUESTION, out, interrupted="nothing was answered"), out)
        if chosen is None:
            out.note("nothing was answered")
            return FAILED
    else:
        wanted = option or ("allow_once" if allow else "reject_once")
        chosen = _named(offered, wanted, clean(permission.get("withheld")))
    # Asking may have taken any time: another connection has its own deadline.
    with options.connect() as connection:
        params = {"thread": row["thread_id"], "request": permission.get("request"), "option": chosen.get("option_id")}
        answer = connection.call("sessions.permit", params)
    if output == "json":
        out.json(answer)
    else:
        what = clean(row.get("waiting_for") or permission.get("title"))
        out.result(found, f"{option_words(chosen)}: {what}")
    return DONE


def _named(offered: list[Option], wanted: str, withheld: str) -> Option:
    """The option of that id, else the first one of that kind. Raises ``CliError``."""
    for key in ("option_id", "kind"):
        for one in offered:
            if one.get(key) == wanted:
                return one
    if withheld and wanted.startswith("allow"):
        raise CliError(f"cannot allow it: {withheld}; `--reject` rejects it", NOT_FOUND)
    named = ", ".join(f"{clean(one.get('option_id'))} ({clean(one.get('kind'))})" for one in offered) or "none"
    raise CliError(f"cannot choose {clean(wanted)!r}: the options are {named}", USAGE)
