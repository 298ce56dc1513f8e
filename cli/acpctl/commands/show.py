"""`acpctl show`: one session whole."""

from typing import Annotated, Any

import typer

from acpctl import thread_refs as threads
from acpctl.exit_codes import DONE
from acpctl.options import Format, Thread, given
from acpctl.render.output import Output
from acpctl.render.session_rows import calls, facts, process_table, processes, state_cell
from acpctl.text import clean, fit, many, width

_STDERR_LINES = 10


def run(
    context: typer.Context,
    thread: Thread,
    *,
    output: Format = "table",
    lines: Annotated[
        int, typer.Option("-n", "--lines", min=0, metavar="N", help="Lines of the agent's stderr.")
    ] = _STDERR_LINES,
) -> int:
    """Show one session whole.

    What it does, its tool calls, its processes, the end of its stderr.
    """
    name = threads.parse(thread)
    options = given(context)
    with options.connect() as connection:
        row = threads.fetch(connection, name)
    if output == "json":
        options.out.json({"session": row})
    else:
        options.out.lines(_page(row, options.out, lines))
    return DONE


def _page(row: dict[str, Any], out: Output, stderr_lines: int) -> list[str]:
    state, style = state_cell(row, out)
    page = [f"{out.paint(clean(row.get('thread_id')), 'bold')}  {out.paint(state, style)}", ""]
    pairs = facts(row, out)
    label = max((width(name) for name, _ in pairs), default=0)
    for name, (value, how) in pairs:
        page.append(f"  {out.paint(name.ljust(label), 'dim')}  {out.paint(value, how)}")
    open_calls = calls(row)
    if open_calls:
        page += ["", out.paint("TOOL CALLS", "head"), *(f"  {call}" for call in open_calls)]
    tree = processes(row)
    if tree:
        page += ["", out.paint(f"PROCESSES ({len(tree)})", "head")]
        page += process_table(tree, out, indent=2)
    stderr = row.get("stderr")
    said = [clean(line) for line in stderr] if isinstance(stderr, list) else []
    if said and stderr_lines:
        last = said[-stderr_lines:]
        title = f"STDERR (the last {many(len(last), 'line')})"
        page += [
            "",
            out.paint(title, "head"),
            *(f"  {out.paint(fit(line, out.columns() - 2), 'dim')}" for line in last),
        ]
    return page
