"""A session as people read it: what it does and how it ended, the fields of `acpctl show`, a summary line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpctl.client import objects
from acpctl.quantities import count, number, plural, size, whole_number
from acpctl.render.session_order import FAILURES, STATE_ORDER, WITHOUT_PROCESS, has_failed
from acpctl.render.table import Cell, Column
from acpctl.text import abbreviate_home, clean, clean_lines
from acpctl.times import ago, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpctl.render.renderer import Renderer

Row = dict[str, Any]

_STATE_STYLES: Final = {
    "starting": "blue",
    "idle": "green",
    "busy": "cyan",
    "waiting": "yellow",
    "stuck": "alert",
    "suspended": "dim",
    "warm": "dim",
    "closing": "magenta",
    "gone": "dim",
}
_SILENCE_SECONDS: Final = 5.0
_END_WORDS: Final = {
    "crashed": "crashed",
    "start_failed": "could not start",
    "evicted": "ended to make room",
    "expired": "ended while idle",
    "stuck": "ended, it was stuck",
    "stopped": "ended as acpbot stopped",
}

_PROCESS_COLUMNS: Final = (
    Column("PID", right=True),
    Column("S"),
    Column("RSS", right=True),
    Column("CPU", right=True),
    Column("AGE", right=True),
    Column("COMMAND", shrink="tail", min_width=20),
)


def state_cell(row: Row, out: Renderer) -> Cell:
    """The state as a word, on a terminal with a symbol before it."""
    state = clean(row.get("state")) or "unknown"
    symbol = "○ " if state in WITHOUT_PROCESS else "● "
    return out.terminal_glyph(symbol) + state, "alert" if has_failed(row) else _STATE_STYLES.get(state, "")


def activity(row: Row, *, timed: bool = True) -> str:
    """What a session does or waits for, and (``timed``) for how long; empty where it does nothing."""
    state = row.get("state")
    title = clean(row.get("activity"))
    turn = f"{duration(row.get('turn_seconds'))} " if timed else ""
    if state == "waiting":
        return f"{turn}asks: {clean(row.get('waiting_for')) or title or 'a permission'}"
    if state == "stuck":
        silent = f"silent {duration(row.get('silent_seconds'))}: " if timed else ""
        return f"{silent}{title or 'no tool runs'}"
    if state == "busy":
        return f"{turn}{title or _without_tool(row)}"
    return title or end_text(row)


def _without_tool(row: Row) -> str:
    """What a turn does in which no tool runs: nobody can tell thinking from waiting for a model."""
    turn, silent = number(row.get("turn_seconds")), number(row.get("silent_seconds"))
    if silent is None or silent < _SILENCE_SECONDS:
        return "working"
    return "no output yet" if turn is not None and silent >= turn - 1 else f"silent for {duration(silent)}"


def end_text(row: Row) -> str:
    """How the thread's session before ended, where that is known and no session runs: ``killed, 2 minutes ago``."""
    return last_end_text(row.get("last_end")) if row.get("state") in WITHOUT_PROCESS else ""


def last_end_text(end: object) -> str:
    """An end of a session: ``exited with 3, 2 minutes ago: why``; empty where it is unknown."""
    if not isinstance(end, dict):
        return ""
    reason, code = clean(end.get("reason")), number(end.get("exit_code"))
    how = _END_WORDS.get(reason, reason or "ended")
    if reason in FAILURES and code is not None:
        exited = f"exited with {code:.0f}" if code >= 0 else f"ended by {_signal_name(int(-code))}"
        how = exited if reason == "crashed" else f"{how}, {exited}"
    when, detail = ago(clean(end.get("at"))), clean(end.get("detail"))
    return f"{how}{', ' if when else ''}{when}{': ' if detail else ''}{detail}"


def _signal_name(number: int) -> str:
    import signal  # noqa: PLC0415 - few ends need it

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def summary(
    rows: Sequence[Row], max_sessions: object, suspended: object = None, *, failed: int = 0, stuck: str = "stuck"
) -> str:
    """``5 of 32 sessions: 1 stuck, 2 busy, 2 idle``; and how many are ``suspended``, where they are not in ``rows``.

    ``failed``: how many of the suspended ones are so after a failure; ``stuck``: what stuck sessions are called.
    """
    states = [clean(row.get("state")) for row in rows]
    running = sum(state not in {"suspended", "warm"} for state in states)
    most = number(max_sessions)
    total = f"{running} of {plural(int(most), 'session')}" if most is not None else plural(running, "session")
    words = {"stuck": stuck, "suspended": f"suspended{_after_failure(count_failed(rows))}"}
    parts = [f"{states.count(state)} {words.get(state, state)}" for state in STATE_ORDER if state in states]
    text = f"{total}: {', '.join(parts)}" if parts else total
    return text if "suspended" in states else f"{text}{more_suspended(suspended, failed)}"


def count_failed(rows: Sequence[Row]) -> int:
    """How many of the rows have no session because the last one failed."""
    return sum(map(has_failed, rows))


def none_run(suspended: object, failed: int) -> str:
    """What is said where no session runs."""
    more = more_suspended(suspended, failed)
    return f"no sessions run{more}" if more else "no sessions"


def more_suspended(suspended: object, failed: int) -> str:
    """``; 57 suspended (--all)``; empty where there are none."""
    found = whole_number(suspended)
    return f"; {found:,} suspended{_after_failure(failed)} (--all)" if found else ""


def _after_failure(failed: int) -> str:
    return f", {failed} of them after a failure" if failed else ""


def session_fields(row: Row, out: Renderer) -> list[tuple[str, Cell]]:
    """The fields of `acpctl show`, in reading order; leaves out unknown ones."""
    turn, silent = duration(row.get("turn_seconds")), duration(row.get("silent_seconds"))
    owner, platform = clean(row.get("owner")), clean(row.get("platform"))
    resources = _resources(row)
    alive = (
        "unknown whether it runs" if row.get("alive", False) is None else "alive" if row.get("alive") else "no process"
    )
    idle_name = "suspended" if row.get("state") == "suspended" else "idle"
    pairs: list[tuple[str, Cell]] = [
        ("title", (clean(row.get("title")), "bold")),
        ("activity", ("" if end_text(row) else activity(row), "alert" if row.get("state") == "stuck" else "")),
        ("last end", (last_end_text(row.get("last_end")), "alert" if has_failed(row) else "")),
        ("turn", (f"running for {turn}, silent for {silent}" if turn != "-" else "", "")),
        (idle_name, ("" if turn != "-" or row.get("idle_seconds") is None else duration(row["idle_seconds"]), "")),
        ("queued", (plural(whole_number(row.get("queued")), "message") if row.get("queued") else "", "yellow")),
        ("turns", (f"{count(row.get('turns'))} finished", "")),
        ("cwd", (abbreviate_home(clean(row.get("cwd")), out.home) if out.terminal else clean(row.get("cwd")), "blue")),
        ("agent", (clean(row.get("agent")), "")),
        ("runtime", (", ".join(filter(None, map(clean, (row.get("runtime"), row.get("place"))))), "")),
        ("mode", (clean(row.get("mode")), "")),
        ("model", (clean(row.get("model")), "")),
        ("context", (_context(row), "")),
        ("cost", (_cost(row.get("cost")), "")),
        *_not_as_configured(row),
        ("owner", (f"{owner} on {platform}" if owner else platform, "")),
        ("place", (_place(row), "")),
        ("process", (f"pid {count(row.get('pid'))}, {alive}" if row.get("pid") is not None else alive, "")),
        ("resources", (resources, "")),
        ("session", (clean(row.get("session_id")), "")),
        ("ACP session", (clean(row.get("acp_session_id")), "")),
        ("resumable", ("yes" if row.get("resumable") else "no", "")),
        ("created", (clean(row.get("created_at")), "")),
    ]
    return [(name, cell) for name, cell in pairs if cell[0]]


def _place(row: Row) -> str:
    """Where the agent runs, where that is another place than this machine as it is."""
    runtime, place = clean(row.get("runtime")), clean(row.get("place"))
    if runtime in {"", "local"}:
        return place
    return f"{runtime}, {place}" if place else runtime


def _resources(row: Row) -> str:
    """What the session's processes use; empty where nothing is known of it."""
    processes, memory, cpu = (number(row.get(name)) for name in ("processes", "rss_bytes", "cpu_seconds"))
    if processes is memory is cpu is None:
        return ""
    parts = (
        "number of processes unknown" if processes is None else plural(int(processes), "process", "processes"),
        "memory unknown" if memory is None else f"{size(memory)} in memory",
        "CPU time unknown" if cpu is None else f"{duration(cpu)} of CPU",
    )
    return ", ".join(parts)


def _context(row: Row) -> str:
    """The tokens in the model's context, and how many fit; empty where that is unknown."""
    used, most = number(row.get("context_used")), number(row.get("context_size"))
    if used is None:
        return ""
    return f"{used:,.0f} tokens" if not most else f"{used:,.0f} of {most:,.0f} tokens ({used / most:.0%})"


def _cost(cost: object) -> str:
    """What the agent says that the thread has cost; empty where that is unknown."""
    if not isinstance(cost, dict) or (amount := number(cost.get("amount"))) is None:
        return ""
    return f"{amount:,.4f} {clean(cost.get('currency'))}".rstrip()


def _not_as_configured(row: Row) -> list[tuple[str, Cell]]:
    """What of the agent's configuration does not hold in this session, in an answer to ``sessions.get``."""
    held = [(limit.get("limit"), limit.get("reason")) for limit in objects(row.get("limits_not_held"))]
    held += [(option.get("option"), option.get("reason")) for option in objects(row.get("options_not_set"))]
    return [("not set", (f"{clean(name)}: {clean(reason)}", "yellow")) for name, reason in held]


def process_table(processes: Sequence[Row], out: Renderer, *, indent: int = 0) -> list[str]:
    """The process tree, ``indent`` columns in; a command is indented further by its depth in the tree."""
    branch = out.terminal_glyph("└ ", "- ")
    cells: list[list[Cell]] = []
    for process in processes:
        depth = whole_number(process.get("depth"))
        lead = "  " * (depth - 1) + branch if depth > 0 else ""
        cells.append(
            [
                (count(process.get("pid")), ""),
                (clean(process.get("state"))[:8] or "-", ""),
                (size(process.get("rss_bytes")), ""),
                (duration(process.get("cpu_seconds")), ""),
                (duration(process.get("age_seconds")), ""),
                (lead + clean(process.get("command")), ""),
            ]
        )
    return out.table(_PROCESS_COLUMNS, cells, indent=indent)


def permission_lines(row: Row) -> list[str]:
    """The permission request in an answer to ``sessions.get``; readers are not told what it is for."""
    permission = row.get("permission")
    if not isinstance(permission, dict):
        return []
    lines = [clean(permission.get("question")) or "Allow this?"]
    action, title = clean_lines(permission.get("action")), clean(permission.get("title"))
    if action:
        lines += [f"  {line}" for line in action.split("\n")]
    if title and title not in action:
        lines.append(f"The agent calls it: {title}")
    if withheld := clean(permission.get("withheld")):
        lines.append(f"It can't be allowed: {withheld}.")
    options = ", ".join(clean(one.get("kind")) or "unknown" for one in objects(permission.get("options")))
    return [*lines, f"Answers: {options or 'none'}; it expires at {clean(permission.get('expires_at'))}."]


def question_lines(row: Row) -> list[str]:
    """The agent's question in an answer to ``sessions.get``; readers are not told what is asked."""
    question = row.get("question")
    if not isinstance(question, dict):
        return []
    lines = clean_lines(question.get("message")).split("\n")
    if url := clean(question.get("url")):
        lines.append(f"Page at {clean(question.get('host'))}: {url}")
    for field in objects(question.get("fields")):
        choices = " / ".join(clean(one.get("label")) for one in objects(field.get("choices")))
        about = ": ".join(part for part in (clean(field.get("label")), choices or clean(field.get("hint"))) if part)
        lines.append(f"  {about}{' (required)' if field.get('required') is True else ''}")
    if unusable := clean(question.get("unusable")):
        lines.append(f"It can't be answered: {unusable}.")
    return [*filter(None, lines), f"It expires at {clean(question.get('expires_at'))}."]


def open_tool_calls(row: Row) -> list[str]:
    """The open tool calls in an answer to ``sessions.get``, a line each."""
    lines = []
    for call in objects(row.get("tool_calls")):
        kind = f" ({clean(call['kind'])})" if call.get("kind") else ""
        status = clean(call.get("status")) or "open"
        lines.append(f"{clean(call.get('title'))}{kind}, {status} for {duration(call.get('seconds'))}")
    return lines
