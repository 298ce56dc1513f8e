"""`acpctl events`: what matters of sessions and of acpbot, a line each: the latest ones first, then live."""

from typing import Annotated, Any, Final

import typer

from acpctl.exit_codes import DONE
from acpctl.options import OutputFormat, global_options, utc_time
from acpctl.quantities import number
from acpctl.render.output import Output
from acpctl.text import clean, width
from acpctl.times import local_time

_MOST: Final = 1000
_LATELY: Final = 20
_WORDS: Final = {  # by kind: what is shown, and its style
    "daemon_started": ("acpbot started", "bold"),
    "daemon_stopping": ("acpbot stopping", "bold"),
    "session_started": ("started", "green"),
    "session_ended": ("ended", ""),
    "session_stuck": ("stuck", "alert"),
    "drain_started": ("drain started", "yellow"),
    "drain_ended": ("drain ended", "yellow"),
    "config_reloaded": ("reloaded", ""),
    "config_refused": ("config refused", "alert"),
    "schedule_started": ("schedule", "green"),
    "schedule_skipped": ("run skipped", "yellow"),
    "schedule_missed": ("run missed", "alert"),
    "schedule_failed": ("run failed", "alert"),
}
_WIDTH: Final = 14
_TROUBLE: Final = frozenset({"crashed", "stuck", "start_failed"})

Event = dict[str, Any]


def run(
    context: typer.Context,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Show events since then: 10m, 2h, 3d ago, or RFC 3339.")
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--lines",
            min=0,
            max=_MOST,
            metavar="N",
            help="How many earlier events to show. [default: 20, or all since]",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", "-f", help="Keep following until Ctrl-C.")] = True,
    output: OutputFormat = "table",
) -> int:
    """Show what matters, as it happens.

    Starts and ends of sessions with their reasons, stuck turns, drains, reloads: the latest ones first, then live.
    """
    count = (_LATELY if since is None else _MOST) if lines is None else lines
    params: dict[str, Any] = {"limit": max(count, 1), "follow": follow}
    if since is not None:
        params["since"] = utc_time(since)
    options = global_options(context)
    out = options.out
    with options.connect(streams=True) as connection:
        connection.require("events.list", "show events")
        answer = connection.call("events.list", params)
        for event in connection.parse_rows(answer, "events", "events.list")[: count or 0]:
            _write(event, out, output)
        while follow and not out.reader_gone:
            for message in connection.receive():
                new = message.get("params")
                if message.get("method") == "events.event" and isinstance(new, dict):
                    _write(new, out, output)
    return DONE


def _write(event: Event, out: Output, output: str) -> None:
    if output == "json":
        out.json(event, line=True)
        return
    at, kind = clean(event.get("at")), clean(event.get("kind"))
    word, style = _WORDS.get(kind, (kind.replace("_", " "), ""))
    if event.get("reason") in _TROUBLE:
        style = "alert"
    cells = [(local_time(at) if out.terminal else at, "dim"), (word.ljust(_WIDTH), style)]
    if thread := clean(event.get("thread_id") or ""):
        cells.append((thread, "bold"))
    first, *others = out.beside(sum(width(text) + 2 for text, _ in cells), _why(event))
    shown = "  ".join([*(out.paint(*cell) for cell in cells), first]).rstrip()
    out.lines([shown, *others])


def _why(event: Event) -> str:
    """``crashed (exit code 3): out of memory``."""
    reason, detail = clean(event.get("reason") or ""), clean(event.get("detail") or "")
    code = number(event.get("exit_code"))
    if event.get("kind") == "session_started":
        agent = clean(event.get("agent") or "")
        return ", ".join(part for part in (agent, reason) if part)
    if reason == "crashed" and code is not None:
        reason += f" (signal {-code:.0f})" if code < 0 else f" (exit code {code:.0f})"
    return ": ".join(part for part in (reason, detail) if part)
