"""``sessions.send``, ``permit``, ``suspend``, ``restart``, ``forget``: what an operator does in any thread."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from acpbot.errors import InvalidParams, NotFound
from acpbot.management.method import Call, Method, Params
from acpbot.management.methods.chat import Missed, chat_key
from acpbot.text import one_line

if TYPE_CHECKING:
    from acpbot.management.method import FollowedPrompt, Operator
    from acpbot.management.stream import Event, Stream


class SessionsSend(Params, frozen=True):
    """``thread`` or ``channel``, in which a thread begins. ``agent``: for a conversation that begins with it.

    ``now``: the running turn is cancelled for it.
    """

    text: str
    thread: str | None = None
    channel: str | None = None
    agent: str | None = None
    now: bool = False


class SessionsPermit(Params, frozen=True):
    """``request`` and ``option``: of ``permission`` in sessions.get, or of a ``permission`` event."""

    thread: str
    request: str
    option: str


class SessionsEnd(Params, frozen=True):
    """``session_id``: the session that the operator saw; no other one is ended."""

    thread: str
    session_id: str


class SessionsForget(Params, frozen=True):
    """``thread``: one without a session."""

    thread: str


async def send(call: Call, params: SessionsSend) -> dict[str, Any]:
    """Queue a prompt; the events of its turn come as notifications."""
    operator, text = _operator(call), params.text
    if not text.strip() or "\0" in text:
        raise InvalidParams("cannot call sessions.send: the parameter 'text' is empty or holds a NUL")
    if (params.thread is None) == (params.channel is None):
        raise InvalidParams("cannot call sessions.send: give one of the parameters 'thread' and 'channel'")
    async with call.client.in_order:
        user = await call.client.user()
        thread = None if params.thread is None else operator.find(params.thread)
        # The events of a thread that is open on this connection come once.
        is_open = thread is not None and call.client.find_stream(chat_key(thread)) is not None
        follower = operator.follow(_drop, text) if is_open else _follow(call, operator, text)
        if thread is not None:
            queued = operator.send(thread, text, user, agent=params.agent, follower=follower, now=params.now)
            call.audit(thread, "queued, to run now" if params.now else "queued")
        else:
            channel = params.channel or ""
            thread, queued = await operator.begin(channel, text, user, agent=params.agent, follower=follower)
            call.audit(thread, f"began in channel {channel}")
    return {"thread_id": thread, "queued": queued}


def _drop(_event: Event) -> None:
    """Somebody else sends it."""


def _follow(call: Call, operator: Operator, text: str) -> FollowedPrompt:
    """What sends the events of the turn of this prompt to the client, and ends with them."""
    opened: list[Stream] = []

    def emit(event: Event) -> None:
        for stream in opened:
            stream.send(event)
            if event["type"] == "turn_end":
                stream.finish()

    follower = operator.follow(emit, text)
    missed = Missed(follower.snapshot)
    key = f"send {secrets.token_hex(8)}"
    opened.append(call.client.stream(key, "chat.event", missed.snapshot, lambda: None, missed.add))
    call.opened.extend(opened)
    return follower


async def permit(call: Call, params: SessionsPermit) -> dict[str, Any]:
    """Answer a permission request of any thread."""
    async with call.client.in_order:
        operator, user = _operator(call), await call.client.user()
        thread = call.services.pool.resolve(params.thread)
        operator.permit(thread, params.request, params.option, user)
    call.audit(thread, f"selected {one_line(params.option, 100)}")
    return {}


async def suspend(call: Call, params: SessionsEnd) -> dict[str, Any]:
    """End a session and keep its conversation."""
    operator, thread = _operator(call), call.services.pool.resolve(params.thread)
    outcome = await operator.suspend(thread, params.session_id)
    call.audit(f"{thread}/{params.session_id}", outcome)
    return {"outcome": outcome, "session_id": operator.session_of(thread)}


async def restart(call: Call, params: SessionsEnd) -> dict[str, Any]:
    """End a session and start the next one."""
    thread = call.services.pool.resolve(params.thread)
    outcome, session_id = await _operator(call).restart(thread, params.session_id)
    call.audit(f"{thread}/{params.session_id}", outcome)
    return {"outcome": outcome, "session_id": session_id}


def forget(call: Call, params: SessionsForget) -> dict[str, Any]:
    """Forget a suspended thread's conversation."""
    thread = call.services.pool.resolve(params.thread)
    _operator(call).forget(thread)
    call.audit(thread, "forgotten")
    return {}


def _operator(call: Call) -> Operator:
    if call.services.operator is None:
        raise NotFound("cannot do this: this acpbot serves no chat")
    return call.services.operator


METHODS: Final = {
    "sessions.send": Method("admin", SessionsSend, send),
    "sessions.permit": Method("admin", SessionsPermit, permit),
    "sessions.suspend": Method("admin", SessionsEnd, suspend),
    "sessions.restart": Method("admin", SessionsEnd, restart),
    "sessions.forget": Method("admin", SessionsForget, forget),
}
