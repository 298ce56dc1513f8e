"""``chat.*``: the terminal's chat. What one connection sends takes effect in the order in which it was sent."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from acpbot.errors import InvalidParams, NotFound
from acpbot.management.method import Call, Method, Params
from acpbot.sessions.workspace import check_thread_id
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from acpbot.management.method import Chat
    from acpbot.management.stream import Event

KEPT_NOTICES: Final = 20
RECENT_LINES: Final = 10


class ChatOpen(Params, frozen=True):
    """``agent``: a configured name; the default one where it is left out. ``resume``: an agent's conversation."""

    thread: str
    agent: str | None = None
    resume: str | None = None


class ChatSend(Params, frozen=True):
    """One prompt. ``now``: the running turn is cancelled, and this one goes before others that wait."""

    thread: str
    text: str
    now: bool = False


class ChatPermit(Params, frozen=True):
    """``request`` and ``option`` are the ids of a ``permission`` event."""

    thread: str
    request: str
    option: str


class ChatCommand(Params, frozen=True):
    """``/name value``, as a person types it."""

    thread: str
    name: Literal["agent", "mode", "model", "now", "options", "reset", "status"]
    value: str | None = None


class ChatConversations(Params, frozen=True):
    """The thread's agent is asked."""

    thread: str


class ChatLeave(Params, frozen=True):
    """The session goes on."""

    thread: str


async def open_thread(call: Call, params: ChatOpen) -> dict[str, Any]:
    """Open a thread; its events come as notifications from now on."""
    hub, thread = _hub(call), check_thread_id(params.thread)
    async with call.client.in_order:
        owner = await call.client.user()
        stream = call.client.find_stream(chat_key(thread))
        if stream is None:
            missed = Missed(partial(hub.snapshot, thread))
            stream = call.client.stream(
                chat_key(thread), "chat.event", missed.snapshot, lambda: hub.leave(thread, emit), missed.add
            )
            call.opened.append(stream)
        emit = stream.send
        recent = [] if params.resume else await hub.recent(thread, RECENT_LINES)
        row = await hub.open(thread, params.agent, owner, emit, resume=params.resume)
        if stream.closed:
            # The client went while its thread was being opened: the stream's own leave came too early.
            hub.leave(thread, emit)
    call.audit(thread, "opened" if params.resume is None else f"opened with {one_line(params.resume, 80)}")
    return {"session": row, "recent": recent}


class Missed:
    """What a reader gets in place of events that it missed: the missed notices, and a snapshot."""

    def __init__(self, snapshot: Callable[[], list[Event]]) -> None:
        self._snapshot = snapshot
        self._notices: deque[Event] = deque(maxlen=KEPT_NOTICES)

    def add(self, event: Event) -> None:
        """The reader has missed this one."""
        if event["type"] == "notice":
            self._notices.append(event)

    def snapshot(self) -> list[Event]:
        """What to send now."""
        notices = list(self._notices)
        self._notices.clear()
        return [*notices, *self._snapshot()]


async def send(call: Call, params: ChatSend) -> dict[str, Any]:
    """Queue a prompt."""
    if not params.text.strip() or "\0" in params.text:
        raise InvalidParams("cannot call chat.send: the parameter 'text' is empty or holds a NUL")
    async with call.client.in_order:
        hub = _hub_of_open_thread(call, params.thread)
        position = await hub.send(params.thread, params.text, await call.client.user(), now=params.now)
    call.audit(params.thread, "queued, to run now" if params.now else "queued")
    return {"queued": position}


async def permit(call: Call, params: ChatPermit) -> dict[str, Any]:
    """Answer a permission request."""
    async with call.client.in_order:
        hub = _hub_of_open_thread(call, params.thread)
        hub.permit(params.thread, params.request, params.option, await call.client.user())
    call.audit(params.thread, f"selected {params.option}")
    return {}


async def command(call: Call, params: ChatCommand) -> dict[str, Any]:
    """Do what a command of a person asks for."""
    async with call.client.in_order:
        hub = _hub_of_open_thread(call, params.thread)
        text = await hub.command(params.thread, params.name, params.value, await call.client.user())
    if params.name in {"reset", "now"} or params.value is not None:
        call.audit(params.thread, f"/{params.name} {one_line(params.value or '', 100)}".rstrip())
    return {"text": text}


async def conversations(call: Call, params: ChatConversations) -> msgspec.Struct:
    """What the thread's agent knows for the thread's folder."""
    async with call.client.in_order:
        return await _hub_of_open_thread(call, params.thread).conversations(params.thread)


async def leave(call: Call, params: ChatLeave) -> dict[str, Any]:
    """Get no more events of a thread; it is no error where the thread is not open."""
    async with call.client.in_order:
        call.client.end_stream(chat_key(params.thread))
    call.audit(params.thread, "left")
    return {}


def chat_key(thread: str) -> str:
    """The key of the stream of an open thread."""
    return f"chat {thread}"


def _hub(call: Call) -> Chat:
    if call.services.chat is None:
        raise NotFound("cannot chat: this acpbot serves no local chat")
    return call.services.chat


def _hub_of_open_thread(call: Call, thread: str) -> Chat:
    if call.client.find_stream(chat_key(thread)) is None:
        raise NotFound(f"cannot reach thread {thread[:80]!r}: it is not open on this connection; call chat.open first")
    return _hub(call)


METHODS: Final = {
    "chat.open": Method("admin", ChatOpen, open_thread),
    "chat.send": Method("admin", ChatSend, send),
    "chat.permit": Method("admin", ChatPermit, permit),
    "chat.command": Method("admin", ChatCommand, command),
    "chat.conversations": Method("admin", ChatConversations, conversations),
    "chat.leave": Method("admin", ChatLeave, leave),
}
