"""`acpctl tail`: what one session says and does, as it happens."""

from datetime import datetime
from typing import Annotated, Any, Final

import typer

from acpctl import thread_refs as threads
from acpctl.exit_codes import DONE
from acpctl.options import Format, Thread, given
from acpctl.render.output import Output
from acpctl.text import clean

_STYLES: Final = {"text": "", "tool": "cyan", "stderr": "dim", "notice": "yellow"}
_KIND_WIDTH: Final = 6


def run(
    context: typer.Context,
    thread: Thread,
    *,
    lines: Annotated[
        int | None, typer.Option("-n", "--lines", min=0, max=1000, metavar="N", help="Of what was before.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on, until Ctrl-C.")] = True,
    output: Format = "table",
) -> int:
    """Follow what one session says and does.

    The agent's text, its tool calls, its stderr: what was last, then live until Ctrl-C.
    """
    name = threads.parse(thread)
    options = given(context)
    out = options.out
    with options.connect() as connection:
        connection.need("sessions.tail", "tail")
        row = threads.fetch(connection, name)
        asked: dict[str, Any] = {"thread": row["thread_id"]}
        if lines is not None:
            asked["lines"] = lines
        answer = connection.call("sessions.tail", asked)
        for said in connection.rows(answer, "lines", "sessions.tail"):
            _write(said, out, output)
        while follow and not out.reader_gone:
            for message in connection.arrived():
                params = message.get("params")
                if message.get("method") == "sessions.output" and isinstance(params, dict):
                    _write(params, out, output)
    return DONE


def _write(said: dict[str, Any], out: Output, output: str) -> None:
    if output == "json":
        out.json(said, line=True)
        return
    kind = clean(said.get("kind"))
    at = clean(said.get("at"))
    if out.terminal:
        at = _local(at)
    what = f"{out.paint(at, 'dim')}  {out.paint(kind.ljust(_KIND_WIDTH), 'dim')}  "
    out.data((what + out.paint(clean(said.get("text")), _STYLES.get(kind, ""))).rstrip())


def _local(at: str) -> str:
    """The time of day here; as it stands where it can't be read."""
    try:
        return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return at
