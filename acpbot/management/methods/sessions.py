"""``sessions.*``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from acpbot.errors import InvalidParams
from acpbot.management.route import Call, Method, Params
from acpbot.sessions.model import State, Target  # noqa: TC001 - msgspec resolves the annotations when it runs

if TYPE_CHECKING:
    from acpbot.sessions.model import Row

MAX_TARGETS: Final = 1000
MAX_GRACE_SECONDS: Final = 300.0
MAX_TAIL_LINES: Final = 1000


class SessionsList(Params, frozen=True):
    """``state``: only these. ``suspended``: those without a process too."""

    state: State | None = None
    suspended: bool = False


class SessionsGet(Params, frozen=True):
    """``thread``: the exact id, or a unique suffix of four or more characters."""

    thread: str


class SessionsKill(Params, frozen=True):
    """``targets``: explicit pairs that somebody was shown. ``grace_seconds``: 0 to 300."""

    targets: list[Target]
    grace_seconds: float | None = None
    forget: bool = False


class SessionsCancel(Params, frozen=True):
    """``session_id``: the one that was shown; another one is a conflict."""

    thread: str
    session_id: str | None = None


class SessionsWatch(Params, frozen=True):
    """Takes nothing."""


class SessionsTail(Params, frozen=True):
    """``lines``: how many recent ones, 0 to 1,000; all that are kept where it is left out."""

    thread: str
    lines: int | None = None


def list_sessions(call: Call, params: SessionsList) -> dict[str, Any]:
    """Rows."""
    pool = call.services.pool
    rows = pool.rows(suspended=params.suspended or params.state == "suspended")
    if params.state is not None:
        rows = [row for row in rows if row.state == params.state]
    return {"sessions": rows, "max_sessions": pool.max_sessions}


async def get(call: Call, params: SessionsGet) -> dict[str, Any]:
    """One session whole."""
    pool = call.services.pool
    return {"session": await pool.detail(pool.resolve(params.thread))}


async def kill(call: Call, params: SessionsKill) -> dict[str, Any]:
    """End exactly what was named; the whole list is checked before any is touched."""
    call.note(target=" ".join(f"{target.thread_id}/{target.session_id}" for target in params.targets))
    if not 1 <= len(params.targets) <= MAX_TARGETS:
        raise InvalidParams(f"cannot kill {len(params.targets)} sessions: name 1 to {MAX_TARGETS:,}")
    pairs = [(target.thread_id, target.session_id) for target in params.targets]
    if len(set(pairs)) != len(pairs):
        raise InvalidParams("cannot kill: a pair of thread_id and session_id stands twice in targets")
    grace = params.grace_seconds
    if grace is not None and not (math.isfinite(grace) and 0 <= grace <= MAX_GRACE_SECONDS):
        raise InvalidParams(f"cannot wait grace_seconds = {grace}: 0 to {MAX_GRACE_SECONDS:.0f} are allowed")
    results = await call.services.pool.kill(params.targets, grace_seconds=grace, forget=params.forget)
    outcome = " ".join(f"{result.outcome}({result.processes_left} left)" for result in results)
    call.note(target=" ".join("/".join(pair) for pair in pairs), outcome=outcome)
    return {"results": results}


async def cancel(call: Call, params: SessionsCancel) -> dict[str, Any]:
    """Stop the running turn."""
    call.note(target=params.thread)
    pool = call.services.pool
    outcome = await pool.cancel(pool.resolve(params.thread), params.session_id)
    call.note(target=params.thread, outcome=outcome)
    return {"outcome": outcome}


def watch(call: Call, _params: SessionsWatch) -> dict[str, Any]:
    """Rows now, then numbered events."""
    pool = call.services.pool
    seq = 0

    def numbered(event: dict[str, Any]) -> dict[str, Any]:
        nonlocal seq
        seq += 1
        return {"seq": seq, **event}

    def snapshot() -> list[dict[str, Any]]:
        return [numbered({"event": "snapshot", "sessions": pool.rows(), "max_sessions": pool.max_sessions})]

    def changed(change: str, row: Row) -> None:
        stream.send(numbered({"event": change, "session": row}))

    leave = pool.subscribe(changed)
    stream = call.client.stream("watch", "sessions.event", snapshot, leave)
    return {"sessions": pool.rows(), "max_sessions": pool.max_sessions, "seq": seq}


def tail(call: Call, params: SessionsTail) -> dict[str, Any]:
    """Recent output, then each new piece."""
    pool = call.services.pool
    if params.lines is not None and not 0 <= params.lines <= MAX_TAIL_LINES:
        raise InvalidParams(f"cannot show {params.lines} lines: 0 to {MAX_TAIL_LINES:,} are allowed")
    thread = pool.resolve(params.thread)
    recent: list[dict[str, Any]] = []

    def snapshot() -> list[dict[str, Any]]:
        again, leave_again = pool.tail(thread, lambda _: None)
        leave_again()
        return again

    def more(output: dict[str, Any]) -> None:
        stream.send(output)

    recent, leave = pool.tail(thread, more)
    stream = call.client.stream(f"tail {thread}", "sessions.output", snapshot, leave)
    kept = len(recent) if params.lines is None else min(params.lines, len(recent))
    return {"lines": recent[len(recent) - kept :]}


METHODS: Final = {
    "sessions.list": Method("read", SessionsList, list_sessions),
    "sessions.get": Method("read", SessionsGet, get),
    "sessions.kill": Method("admin", SessionsKill, kill),
    "sessions.cancel": Method("admin", SessionsCancel, cancel),
    "sessions.watch": Method("read", SessionsWatch, watch),
    "sessions.tail": Method("read", SessionsTail, tail),
}
