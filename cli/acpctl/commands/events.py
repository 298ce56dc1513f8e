"""`acpctl events`: the changes of the sessions, a line each."""

from typing import Any, Final

import typer

from acpctl.client import objects
from acpctl.exit_codes import DONE
from acpctl.options import OutputFormat, global_options
from acpctl.quantities import count
from acpctl.render.output import Output
from acpctl.render.session_rows import last_end_text, state_cell, summary
from acpctl.text import clean, width
from acpctl.times import time_of_day_now

_STATE_WIDTH: Final = 11


def run(context: typer.Context, *, output: OutputFormat = "table") -> int:
    """Show changes of sessions as they happen."""
    options = global_options(context)
    out = options.out
    with options.connect() as connection:
        connection.require("sessions.watch", "watch events")
        start = connection.call("sessions.watch")
        if output != "json":
            rows = connection.parse_rows(start, "sessions", "sessions.watch")
            out.note(summary(rows, start.get("max_sessions")), "dim")
        formatter = _EventFormatter(out)
        while not out.reader_gone:
            for message in connection.receive():
                event = message.get("params")
                if message.get("method") != "sessions.event" or not isinstance(event, dict):
                    continue
                if output == "json":
                    out.json(event, line=True)
                elif line := formatter.line(event):
                    out.data(line)
    return DONE


class _EventFormatter:
    """Formats events; skips one that changes nothing of the thread's last line."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._last: dict[str, tuple[str, ...]] = {}  # by thread id

    def line(self, event: dict[str, Any]) -> str:
        """The line of an event; empty for a skipped one."""
        at = self._out.paint(time_of_day_now(), "dim")
        if event.get("event") == "snapshot":
            now = summary(objects(event.get("sessions")), event.get("max_sessions"))
            return f"{at}  some events were missed; now {now}"
        row = event.get("session")
        if not isinstance(row, dict):
            return ""
        gone = event.get("event") == "gone"
        thread = clean(row.get("thread_id"))
        state, style = state_cell({**row, "state": "gone"} if gone else row, self._out)
        shown = (
            state,
            last_end_text(row.get("last_end")) if gone else clean(row.get("waiting_for") or row.get("activity")),
            f"{count(row['queued'])} queued" if row.get("queued") and not gone else "",
            f"({clean(row['title'])})" if row.get("title") else "",
        )
        if self._last.get(thread) == shown:
            return ""
        self._last[thread] = shown
        if gone:
            del self._last[thread]
        padding = " " * (_STATE_WIDTH - width(state))
        rest = "  ".join(part for part in shown[1:] if part)
        return f"{at}  {self._out.paint(thread, 'bold')}  {self._out.paint(state, style)}{padding}  {rest}".rstrip()
