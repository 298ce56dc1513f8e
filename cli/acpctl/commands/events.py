"""`acpctl events`: what happens to the sessions, one line each."""

import time
from typing import Any

import typer

from acpctl.exit_codes import DONE
from acpctl.options import Format, given
from acpctl.render.output import Output
from acpctl.render.session_rows import state_cell, sums
from acpctl.text import clean, count, width

_STATE_WIDTH = 11


def run(context: typer.Context, *, output: Format = "table") -> int:
    """Show changes of sessions as they happen."""
    options = given(context)
    out = options.out
    with options.connect() as connection:
        connection.need("sessions.watch", "watch events")
        start = connection.call("sessions.watch")
        if output != "json":
            out.note(sums(connection.rows(start, "sessions", "sessions.watch"), start.get("max_sessions")), "dim")
        lines = _Lines(out)
        while not out.reader_gone:
            for message in connection.arrived():
                event = message.get("params")
                if message.get("method") != "sessions.event" or not isinstance(event, dict):
                    continue
                if output == "json":
                    out.json(event, line=True)
                else:
                    out.lines(lines.of(event))
    return DONE


class _Lines:
    """Events as lines; a change of what no line shows is left out."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._said: dict[str, tuple[str, ...]] = {}

    def of(self, event: dict[str, Any]) -> list[str]:
        """The lines of one event: at most one."""
        at = self._out.paint(time.strftime("%H:%M:%S"), "dim")
        if event.get("event") == "snapshot":
            sessions = event.get("sessions")
            rows = [row for row in sessions if isinstance(row, dict)] if isinstance(sessions, list) else []
            return [f"{at}  some events were missed; now {sums(rows, event.get('max_sessions'))}"]
        row = event.get("session")
        if not isinstance(row, dict):
            return []
        gone = event.get("event") == "gone"
        thread = clean(row.get("thread_id"))
        state, style = state_cell({**row, "state": "gone"} if gone else row, self._out)
        said = (
            state,
            "" if gone else clean(row.get("waiting_for") or row.get("activity")),
            f"{count(row['queued'])} queued" if row.get("queued") and not gone else "",
            f"({clean(row['title'])})" if row.get("title") else "",
        )
        if self._said.get(thread) == said:
            return []
        self._said[thread] = said
        if gone:
            del self._said[thread]
        padding = " " * (_STATE_WIDTH - width(state))
        rest = "  ".join(part for part in said[1:] if part)
        return [f"{at}  {self._out.paint(thread, 'bold')}  {self._out.paint(state, style)}{padding}  {rest}".rstrip()]
