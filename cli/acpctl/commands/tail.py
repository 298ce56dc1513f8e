"""`acpctl tail`: the output of sessions, as it comes."""

from typing import Annotated, Any, Final

import typer

from acpctl.client import DaemonConnection
from acpctl.errors import CliError
from acpctl.exit_codes import DONE, USAGE
from acpctl.options import OutputFormat, ThreadArguments, global_options, utc_time
from acpctl.render.output import Output
from acpctl.text import clean, width
from acpctl.thread_refs import fetch_sessions, parse_thread
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
    thread: ThreadArguments = None,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Show lines since then: 10m, 2h ago, or RFC 3339.")
    ] = None,
    lines: Annotated[
        int | None, typer.Option("-n", "--lines", min=0, max=1000, metavar="N", help="How many earlier lines to show.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", "-f", help="Keep following until Ctrl-C.")] = True,
    output: OutputFormat = "table",
) -> int:
    """Follow what sessions say and do.

    The agent's text, its tool calls, plans, stderr, the ends of turns; for admins prompts and permissions too. What was
    last, of a session that has ended as well, then live until Ctrl-C.
    """
    if not thread:
        raise CliError("cannot tail: give THREADs; `acpctl events` follows all threads", USAGE)
    refs = list(map(parse_thread, thread))
    params: dict[str, Any] = {} if since is None else {"since": utc_time(since)}
    if lines is not None:
        params["lines"] = lines
    options = global_options(context)
    out = options.out
    with options.connect(streams=True) as connection:
        connection.require("sessions.tail", "tail")
        rows = fetch_sessions(connection, refs, exact=False, verb="tail")
        threads = [row["thread_id"] for row in rows]
        names = max(width(clean(one)) for one in threads) if len(threads) > 1 else 0
        for line in _recent(connection, threads, params):
            _write(line, out, output, names)
        while follow and not out.reader_gone:
            for message in connection.receive():
                new = message.get("params")
                if message.get("method") == "sessions.output" and isinstance(new, dict):
                    _write(new, out, output, names)
    return DONE


def _recent(connection: DaemonConnection, threads: list[str], params: dict[str, Any]) -> list[dict[str, Any]]:
    """What was before in all threads, by its time; what follows is sent from now on."""
    lines: list[dict[str, Any]] = []
    for thread in threads:
        connection.reset_deadline()
        answer = connection.call("sessions.tail", {"thread": thread, **params})
        lines += connection.parse_rows(answer, "lines", "sessions.tail")
    return sorted(lines, key=lambda line: str(line.get("at"))) if len(threads) > 1 else lines


def _write(line: dict[str, Any], out: Output, output: str, names: int) -> None:
    """Write a line; ``names``: the width of the threads' names, 0 where they are not shown."""
    if output == "json":
        out.json(line, line=True)
        return
    kind = clean(line.get("kind"))
    at = clean(line.get("at"))
    if out.terminal:
        at = time_of_day(at)
    label = _LABELS.get(kind, kind).ljust(_KIND_WIDTH)
    name = clean(line.get("thread"))
    shown = f"{out.paint(name, 'bold')}{' ' * (names - width(name))}  " if names else ""
    prefix = f"{out.paint(at, 'dim')}  {shown}{out.paint(label, 'dim')}  "
    left = len(at) + 2 + (names + 2 if names else 0) + _KIND_WIDTH + 2
    style = _STYLES.get(kind, "")
    first, *others = out.beside(left, clean(line.get("text")))
    out.lines([(prefix + out.paint(first, style)).rstrip(), *(out.paint(one, style) for one in others)])
