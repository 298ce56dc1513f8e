"""`acpctl show`: everything about one session."""

from typing import Annotated, Any, Final

import typer

from acpctl.client import objects
from acpctl.exit_codes import DONE
from acpctl.options import OutputFormat, ThreadArgument, global_options
from acpctl.quantities import plural
from acpctl.render.output import Output
from acpctl.render.session_rows import (
    open_tool_calls,
    permission_lines,
    process_table,
    question_lines,
    session_fields,
    state_cell,
)
from acpctl.text import clean, truncate
from acpctl.thread_refs import fetch_session, parse_thread

_STDERR_LINES: Final = 10


def run(
    context: typer.Context,
    thread: ThreadArgument,
    *,
    output: OutputFormat = "table",
    lines: Annotated[
        int, typer.Option("-n", "--lines", min=0, metavar="N", help="How many lines of the agent's stderr to show.")
    ] = _STDERR_LINES,
) -> int:
    """Show everything about one session.

    What it does, its tool calls, its processes, the end of its stderr.
    """
    ref = parse_thread(thread)
    options = global_options(context)
    with options.connect() as connection:
        row = fetch_session(connection, ref)
    if output == "json":
        options.out.json({"session": row})
    else:
        options.out.lines(session_page(row, options.out, lines))
    return DONE


def session_page(row: dict[str, Any], out: Output, stderr_lines: int = _STDERR_LINES) -> list[str]:
    """The lines that show a session whole, with so many ``stderr_lines`` at most."""
    state, style = state_cell(row, out)
    page = [f"{out.paint(clean(row.get('thread_id')), 'bold')}  {out.paint(state, style)}", ""]
    page += out.fields(session_fields(row, out))
    if permission := permission_lines(row):
        page += ["", out.paint("PERMISSION", "head"), *(f"  {line}" for line in permission)]
        page.append(f"  Answer it with `acpctl permit {clean(row.get('thread_id'))}`.")
    if question := question_lines(row):
        page += ["", out.paint("QUESTION", "head"), *(f"  {line}" for line in question)]
    if calls := open_tool_calls(row):
        page += ["", out.paint("TOOL CALLS", "head"), *(f"  {call}" for call in calls)]
    if processes := objects(row.get("process_tree")):
        page += ["", out.paint(f"PROCESSES ({len(processes)})", "head")]
        page += process_table(processes, out, indent=2)
    stderr = row.get("stderr")
    last = [clean(line) for line in stderr][-stderr_lines:] if isinstance(stderr, list) and stderr_lines else []
    if last:
        page += ["", out.paint(f"STDERR (the last {plural(len(last), 'line')})", "head")]
        page += [f"  {out.paint(truncate(line, out.columns() - 2), 'dim')}" for line in last]
    return page
