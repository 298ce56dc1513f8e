"""In which order sessions are shown, and which of them: what needs a person comes first."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from acpctl.quantities import number
from acpctl.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Row = dict[str, Any]
SortKey = Literal[
    "state", "time", "idle", "age", "queue", "memory", "cpu", "cost", "thread", "title", "agent", "owner", "cwd"
]

STATE_ORDER: Final = ("stuck", "waiting", "busy", "starting", "idle", "warm", "closing", "suspended", "gone")

WITHOUT_PROCESS: Final = frozenset({"suspended", "gone"})
FAILURES: Final = frozenset({"crashed", "start_failed"})
"""Reasons of ``last_end`` that a person should look at."""


def seconds_in_state(row: Row) -> float | None:
    """For how long the row's state lasts, as far as it says so: silence, a turn, or idleness; ``None``: unknown."""
    if row.get("state") == "stuck" and (silent := number(row.get("silent_seconds"))) is not None:
        return silent
    turn = number(row.get("turn_seconds"))
    return number(row.get("idle_seconds")) if turn is None else turn


def has_failed(row: Row) -> bool:
    """Whether no session runs because the last one failed."""
    end = row.get("last_end")
    return row.get("state") in WITHOUT_PROCESS and isinstance(end, dict) and end.get("reason") in FAILURES


def sort_rows(rows: Iterable[Row], key: SortKey = "state") -> list[Row]:
    """``rows`` by ``key``: the largest, the longest and the oldest first, names from A to Z, unknown values last."""
    in_order = sorted(rows, key=_by_state)
    return in_order if key == "state" else sorted(in_order, key=_RANKS[key])


def _by_state(row: Row) -> tuple[int, bool, int]:
    state = clean(row.get("state"))
    rank = STATE_ORDER.index(state) if state in STATE_ORDER else len(STATE_ORDER)
    return rank, not has_failed(row), -_whole_seconds(row)


def _whole_seconds(row: Row) -> int:
    # Whole, or rows whose states began at the same moment would change places at each look.
    return int(seconds_in_state(row) or 0)


def _largest(name: str) -> Callable[[Row], tuple[bool, float]]:
    return lambda row: (number(row.get(name)) is None, -(number(row.get(name)) or 0))


def _name(name: str) -> Callable[[Row], tuple[bool, str]]:
    return lambda row: (not row.get(name), clean(row.get(name)).casefold())


def _cost(row: Row) -> float:
    cost = row.get("cost")
    return -(number(cost.get("amount")) or 0) if isinstance(cost, dict) else 0


_RANKS: Final[dict[str, Callable[[Row], Any]]] = {
    "state": _by_state,
    "time": lambda row: -_whole_seconds(row),
    "idle": _largest("idle_seconds"),
    "age": _name("created_at"),
    "queue": _largest("queued"),
    "memory": _largest("rss_bytes"),
    "cpu": _largest("cpu_seconds"),
    "cost": _cost,
    "thread": _name("thread_id"),
    "title": _name("title"),
    "agent": _name("agent"),
    "owner": _name("owner"),
    "cwd": _name("cwd"),
}


def is_older(row: Row, moment: datetime) -> bool:
    """Whether the row's thread began before ``moment``; one whose beginning is unknown did not."""
    try:
        return datetime.fromisoformat(clean(row.get("created_at"))) < moment
    except (ValueError, TypeError):  # not a timestamp, or one without a time zone
        return False
