"""``chat.*``: the terminal's chat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpbot.errors import InvalidParams, NotFound
from acpbot.management.route import Call, Method, Params

if TYPE_CHECKING:
    from acpbot.management.route import ChatHub, Services


class ChatOpen(Params, frozen=True):
    """``agent``: a configured name; the default one where it is left out."""

    thread: str
    agent: str | None = None


class ChatSend(Params, frozen=True):
    """One prompt."""

    thread: str
    text: str


class ChatPermit(Params, frozen=True):
    """``request`` and ``option`` are the ids of a ``permission`` event."""

    thread: str
    request: str
    option: str


class ChatLeave(Params, frozen=True):
    """The session lives on."""

    thread: str


def _hub(call: Call) -> ChatHub:
    if call.services.chat is None:
        raise NotFound("cannot chat: this acpbot serves no local chat")
    return call.services.chat


async def open_thread(call: Call, params: ChatOpen) -> dict[str, Any]:
    """Open a thread; its events come as notifications from now on."""
    call.note(target=params.thread)
    hub = _hub(call)
    thread = params.thread

    def emit(event: dict[str, Any]) -> None:
        stream.send(event)

    stream = call.client.stream(
        f"chat {thread}", "chat.event", lambda: hub.snapshot(thread), lambda: hub.leave(thread, emit)
    )
    try:
        row = await hub.open(thread, params.agent, call.client.peer.name, emit)
    except BaseException:
        call.client.end_stream(f"chat {thread}")
        raise
    return {"session": row}


async def send(call: Call, params: ChatSend) -> dict[str, Any]:
    """Queue a prompt."""
    call.note(target=params.thread)
    if "\0" in params.text:
        raise InvalidParams("cannot send a text with a NUL character in it")
    return {"queued": await _hub(call).send(params.thread, params.text, call.client.peer.name)}


def permit(call: Call, params: ChatPermit) -> dict[str, Any]:
    """Answer a permission request."""
    call.note(target=f"{params.thread} {params.request} {params.option}")
    _hub(call).permit(params.thread, params.request, params.option)
    return {}


def leave(call: Call, params: ChatLeave) -> dict[str, Any]:
    """Get no more events of a thread."""
    if not call.client.end_stream(f"chat {params.thread}"):
        raise NotFound(f"cannot leave {params.thread[:80]!r}: it is not open on this connection")
    return {}


def _served(services: Services) -> bool:
    return services.chat is not None


METHODS: Final = {
    "chat.open": Method("admin", ChatOpen, open_thread, _served),
    "chat.send": Method("admin", ChatSend, send, _served),
    "chat.permit": Method("admin", ChatPermit, permit, _served),
    "chat.leave": Method("admin", ChatLeave, leave, _served),
}
