"""``events.list``: what mattered lately, and then live."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta, to_builtins

from acpbot.errors import NotFound
from acpbot.management.method import Call, Method, Params
from acpbot.management.since import utc_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.connection import ClientConnection
    from acpbot.management.method import Events
    from acpbot.management.stream import Event, Stream
    from acpbot.storage.records import EventRecord

MAX_EVENTS: Final = 1000


class EventsList(Params, frozen=True):
    """``since``: RFC 3339. ``limit``: the last ones. ``follow``: each new one comes as a notification."""

    since: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_EVENTS)] = 100
    follow: bool = False


def list_events(call: Call, params: EventsList) -> dict[str, Any]:
    """The last events, the oldest first."""
    events = call.services.events
    if events is None:
        raise NotFound("cannot list events: this acpbot keeps none")
    found = events.latest(params.limit, utc_time(call.method, params.since))
    if params.follow:
        call.opened.append(_Following(events).start(call.client))
    return {"events": found}


class _Following:
    """Sends each new event; a reader that is too slow gets all that it missed, as far as that is kept."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._missed: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._stream: Stream | None = None
        self._leave: Callable[[], None] | None = None

    def start(self, client: ClientConnection) -> Stream:
        self._stream = client.stream("events", "events.event", self._snapshot, self._stop, self._missed.append)
        self._leave = self._events.follow(self._send)
        return self._stream

    def _send(self, event: EventRecord) -> None:
        if self._stream is not None:
            self._stream.send(to_builtins(event))

    def _snapshot(self) -> list[Event]:
        missed = list(self._missed)
        self._missed.clear()
        return missed

    def _stop(self) -> None:
        if self._leave is not None:
            self._leave()


METHODS: Final = {"events.list": Method("read", EventsList, list_events)}
