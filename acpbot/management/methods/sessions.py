"""``sessions.list``, ``get``, ``kill``, ``cancel``, ``answer``."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from acpbot.errors import InvalidParams, NotFound
from acpbot.management.method import Call, Method, Params
from acpbot.sessions.questions import Action  # noqa: TC001 - msgspec resolves the annotation when it runs
from acpbot.sessions.turn import OPERATOR
from acpbot.sessions.views import SessionState, Target, for_readers

MAX_TARGETS: Final = 1000
MAX_GRACE_SECONDS: Final = 300


class SessionsList(Params, frozen=True):
    """``state``, ``agent``, ``owner``: only these. ``suspended``: those without a process too."""

    state: SessionState | None = None
    suspended: bool = False
    agent: str | None = None
    owner: str | None = None


class SessionsGet(Params, frozen=True):
    """``thread``: the exact id, or a unique suffix of four or more characters."""

    thread: str


class SessionsKill(Params, frozen=True):
    """``targets``: pairs of a thread and the session that was seen there. ``grace_seconds``: for each target."""

    targets: Annotated[list[Target], Meta(min_length=1, max_length=MAX_TARGETS)]
    grace_seconds: Annotated[float, Meta(ge=0, le=MAX_GRACE_SECONDS)] | None = None
    forget: bool = False


class SessionsCancel(Params, frozen=True):
    """``session_id``: the session that the operator saw; any other one is a conflict."""

    thread: str
    session_id: str | None = None


class SessionsAnswer(Params, frozen=True):
    """``request``: the question's name. ``content``: the values of its fields, by their names; only with ``accept``."""

    thread: str
    request: str
    action: Action
    content: dict[str, Any] | None = None


def list_sessions(call: Call, params: SessionsList) -> dict[str, Any]:
    """Rows, and how many threads of the same agent and owner are suspended."""
    pool = call.services.pool
    wanted = {"agent": params.agent, "owner": params.owner}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    with_suspended = params.suspended or params.state == "suspended"
    rows = pool.rows(suspended=with_suspended or bool(wanted))
    if wanted:
        rows = [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]
        suspended = sum(row.state == "suspended" for row in rows)
    else:
        suspended = pool.suspended
    if params.state is not None:
        rows = [row for row in rows if row.state == params.state]
    elif wanted and not with_suspended:
        rows = [row for row in rows if row.state != "suspended"]
    if call.client.access != "admin":
        rows = list(map(for_readers, rows))
    return {"sessions": rows, "max_sessions": pool.max_sessions, "suspended": suspended}


async def get(call: Call, params: SessionsGet) -> dict[str, Any]:
    """One session whole."""
    pool = call.services.pool
    detail = await pool.detail(pool.resolve(params.thread))
    return {"session": detail if call.client.access == "admin" else for_readers(detail)}


async def kill(call: Call, params: SessionsKill) -> dict[str, Any]:
    """End exactly the targets; the whole list is checked before any session is ended."""
    if len(set(params.targets)) != len(params.targets):
        raise InvalidParams("cannot call sessions.kill: the parameter 'targets' holds a pair twice")
    results = await call.services.pool.kill(params.targets, grace_seconds=params.grace_seconds, forget=params.forget)
    for result in results:
        call.audit(f"{result.thread_id}/{result.session_id}", result.outcome)
        call.services.pool.watcher.kill_ended(result)
    return {"results": results, "strays": call.services.pool.strays}


async def cancel(call: Call, params: SessionsCancel) -> dict[str, Any]:
    """Cancel the running turn."""
    pool = call.services.pool
    thread = pool.resolve(params.thread)
    outcome = await pool.cancel(thread, params.session_id, by=OPERATOR)
    call.audit(thread, outcome)
    return {"outcome": outcome}


def answer(call: Call, params: SessionsAnswer) -> dict[str, Any]:
    """Answer a question of an agent."""
    pool = call.services.pool
    thread = pool.resolve(params.thread)
    session = pool.get(thread)
    if session is None:
        raise NotFound(f"cannot answer: no agent runs for thread {thread[:80]} now")
    session.questions.answer(params.request, params.action, params.content)
    call.audit(thread, f"answered: {params.action}")
    return {}


METHODS: Final = {
    "sessions.list": Method("read", SessionsList, list_sessions),
    "sessions.get": Method("read", SessionsGet, get),
    "sessions.kill": Method("admin", SessionsKill, kill),
    "sessions.cancel": Method("admin", SessionsCancel, cancel),
    "sessions.answer": Method("admin", SessionsAnswer, answer),
}
