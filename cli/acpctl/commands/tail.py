"""`acpctl tail`: the output of one session, as it comes."""

from typing import Annotated, Any, Final

import typer

from acpctl.exit_codes import DONE
from acpctl.options import OutputFormat, ThreadArgument, global_options
from acpctl.render.output import Output
from acpctl.text import clean
from acpctl.thread_refs import fetch_session, parse_thread
from acpctl.times import time_of_day

_STYLES: Final = {  # by kind
    "tool": "cyan",
    "stderr": "dim",
    "notice": "yellow",
    "plan": "blue",
    "prompt": "bold",
    "permission": "magenta",
    "turn_end": "dim",
}
_LABELS: Final = {"turn_end": "end", "permission": "permit"}  # the others are what they are called
_KIND_WIDTH: Final = 6


def run(
    context: typer.Context,
    thread: ThreadArgument,
    *,
    lines: Annotated[
        int | None, typer.Option("-n", "--lines", min=0, max=1000, metavar="N", help="How many earlier lines to show.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Keep following until Ctrl-C.")] = True,
    output: OutputFormat = "table",
) -> int:
    """Follow what one session says and does.

    The agent's text, its tool calls, plans, stderr, the ends of turns; for admins prompts and permissions too. What was
    last, of a session that has ended as well, then live until Ctrl-C.
    """
    ref = parse_thread(thread)
    options = global_options(context)
    out = options.out
    with options.connect() as connection:
        connection.require("sessions.tail", "tail")
        row = fetch_session(connection, ref)
        request: dict[str, Any] = {"thread": row["thread_id"]}
        if lines is not None:
            request["lines"] = lines
        answer = connection.call("sessions.tail", request)
        for line in connection.parse_rows(answer, "lines", "sessions.tail"):
            _write(line, out, output)
        while follow and not out.reader_gone:
            for message in connection.receive():
                params = message.get("params")
                if message.get("method") == "sessions.output" and isinstance(params, dict):
                    _write(params, out, output)
    return DONE


def _write(line: dict[str, Any], out: Output, output: str) -> None:
    if output == "json":
        out.json(line, line=True)
        return
    kind = clean(line.get("kind"))
    at = clean(line.get("at"))
    if out.terminal:
        at = time_of_day(at)
    label = _LABELS.get(kind, kind).ljust(_KIND_WIDTH)
    prefix = f"{out.paint(at, 'dim')}  {out.paint(label, 'dim')}  "
    out.data((prefix + out.paint(clean(line.get("text")), _STYLES.get(kind, ""))).rstrip())
