"""The confirmation before sessions end: shows them on stderr and asks there; the default answer is no."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from acpctl.client import IN_TURN, objects
from acpctl.errors import CliError
from acpctl.exit_codes import USAGE
from acpctl.quantities import plural, whole_number
from acpctl.render.session_rows import open_tool_calls, process_table
from acpctl.render.session_table import session_table
from acpctl.text import clean
from acpctl.times import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpctl.render.output import Output

Row = dict[str, Any]


def require_terminal(advice: str) -> None:
    """Raise ``CliError`` (exit 2) unless stdin and stderr are a terminal; ``advice`` says how to run without one."""
    for stream, name in ((sys.stdin, "stdin"), (sys.stderr, "stderr")):
        if stream is None or not stream.isatty():
            raise CliError(f"cannot ask for a confirmation: {name} is not a terminal; {advice}", USAGE)


def confirm_sessions(rows: Sequence[Row], out: Output, *, verb: str = "End") -> bool:
    """Show the sessions with their running tools and processes, and ask; only ``y`` and ``yes`` mean yes."""
    for row in rows:
        for line in out.err.table(*session_table([row], out.err)):
            out.note(line)
        for line in _doing(row):
            out.note(f"  {line}", "yellow")
        processes = objects(row.get("process_tree"))
        if processes:
            out.note(f"  {plural(len(processes), 'process', 'processes')} will end:")
            for line in process_table(processes, out.err, indent=2):
                out.note(line)
        out.note("")
    what = "this session" if len(rows) == 1 else f"these {len(rows):,} sessions"
    return ask(f"{verb} {what}? [y/N] ", out).lower() in {"y", "yes"}


def _doing(row: Row) -> list[str]:
    """What the session does now, a line each; nothing outside a turn."""
    if calls := open_tool_calls(row):
        return [f"running tool: {call}" for call in calls]
    state, title = row.get("state"), clean(row.get("activity"))
    turn, silent = duration(row.get("turn_seconds")), duration(row.get("silent_seconds"))
    if state not in IN_TURN:
        return []
    if state == "waiting":
        return [f"waiting for an answer: {clean(row.get('waiting_for')) or title or 'a permission'}"]
    quiet = f", silent for {silent}" if state == "stuck" else ""
    return [f"running tool: {turn} {title}{quiet}" if title else f"a turn has run for {turn}, without a tool{quiet}"]


def confirm_count(rows: Sequence[Row], out: Output) -> bool:
    """Show the sessions in one table, and ask for their number. Raises ``CliError`` (exit 2) for another number."""
    for line in out.err.table(*session_table(rows, out.err)):
        out.note(line)
    processes = sum(whole_number(row.get("processes")) for row in rows)
    out.note(f"{plural(len(rows), 'session')} and {plural(processes, 'process', 'processes')} will end")
    answer = ask(f"To end all {plural(len(rows), 'session')} above, type their number: ", out)
    if not (answer.isascii() and answer.isdigit() and len(answer) < 10):  # noqa: PLR2004 - digits that int() takes fast
        return False
    if int(answer) != len(rows):
        raise CliError(f"cannot end all sessions: there are {len(rows)}, not {int(answer)}; nothing was ended", USAGE)
    return True


def wait_for_enter(text: str, out: Output) -> None:
    """Show ``text`` on stderr, and return at the next line, or Ctrl-C."""
    out.note(text, "dim", end="")
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.readline()


def ask(question: str, out: Output, *, interrupted: str = "nothing was ended") -> str:
    """The line that the user types, stripped; empty where the input ends before its newline (Ctrl-D).

    ``interrupted``: what Ctrl-C says.
    """
    out.note(question, "bold", end="")
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        out.note(f"\n{interrupted}")
        raise
    if answer.endswith("\n"):
        return answer.strip()
    out.note("")
    return ""
