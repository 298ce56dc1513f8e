"""The interactive confirmation: what will end is shown, then asked for, on stderr; the default is no."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from acpctl.exit_codes import USAGE, Failure
from acpctl.render.session_rows import activity, calls, process_table, processes, session_table
from acpctl.text import many, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpctl.render.output import Output

Row = dict[str, Any]


def can_ask() -> str:
    """Why nobody can be asked here, or an empty string: both stdin and stderr have to be a terminal."""
    for stream, name in ((sys.stdin, "stdin"), (sys.stderr, "stderr")):
        if stream is None or not stream.isatty():
            return f"{name} is not a terminal"
    return ""


def need_terminal(advice: str) -> None:
    """Raise ``Failure`` (exit 2) where nobody can be asked; ``advice`` is the way to do without."""
    if reason := can_ask():
        raise Failure(f"cannot ask for a confirmation: {reason}; {advice}", USAGE)


def show(rows: Sequence[Row], out: Output) -> None:
    """Show the sessions on stderr, and of each what ends with it: its running tool, its processes."""
    for row in rows:
        for line in out.table(*session_table([row], out, error=True), error=True):
            out.note(line)
        for call in calls(row) or ([activity(row)] if activity(row) else []):
            out.note(f"  running tool: {call}", "yellow")
        tree = processes(row)
        if tree:
            out.note(f"  {many(len(tree), 'process', 'processes')} will end:")
            for line in process_table(tree, out, error=True, indent=2):
                out.note(line)
        out.note("")


def show_all(rows: Sequence[Row], out: Output) -> None:
    """Show all sessions on stderr, in one table, and how many processes end with them."""
    for line in out.table(*session_table(rows, out, error=True), error=True):
        out.note(line)
    total = sum(int(number(row.get("processes")) or 0) for row in rows)
    out.note(f"{many(len(rows), 'session')} and {many(total, 'process', 'processes')} will end")


def yes(amount: int, out: Output) -> bool:
    """Ask; only ``y`` and ``yes`` are a yes, the end of the input is a no."""
    what = "this session" if amount == 1 else f"these {amount:,} sessions"
    return _asked(f"End {what}? [y/N] ", out).strip().lower() in {"y", "yes"}


def typed_number(amount: int, out: Output) -> int | None:
    """Ask for the number of sessions; ``None`` for anything that is no number."""
    answer = _asked(f"To end all {many(amount, 'session')} above, type their number: ", out).strip()
    return int(answer) if answer.isascii() and answer.isdigit() and len(answer) < 10 else None  # noqa: PLR2004 - no number of sessions


def _asked(question: str, out: Output) -> str:
    """One line typed on the terminal; empty where the input ended instead (Ctrl-D, even after a few characters)."""
    out.note(question, "bold", end="")
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        out.note("\nnothing was ended")
        raise
    if answer.endswith("\n"):
        return answer
    out.note("")
    return ""
