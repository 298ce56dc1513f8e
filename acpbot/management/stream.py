"""Streams of notifications: a client that reads too slowly gets a fresh snapshot in place of what it missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from acpbot.management.protocol import notification_line

if TYPE_CHECKING:
    from collections.abc import Callable

Event = dict[str, Any]


class Outlet(Protocol):
    """What a stream needs of a connection; the tests have another one."""

    @property
    def has_room(self) -> bool:
        """Whether a notification can be queued now; once it can again, the connection calls :meth:`Stream.catch_up`."""

    def post(self, line: bytes) -> None:
        """Queue a line, to be sent soon."""


class Stream:
    """One subscription of one connection. It never blocks, and buffers nothing.

    ``snapshot`` returns the events to send in place of those that were missed; ``leave`` ends the subscription;
    ``missed`` is called with each event that was not sent. Events before :meth:`release` count as missed; the
    connection calls it once the answer to the request that opened the stream is queued.
    """

    def __init__(
        self,
        outlet: Outlet,
        method: str,
        snapshot: Callable[[], list[Event]],
        leave: Callable[[], None],
        missed: Callable[[Event], None] | None = None,
    ) -> None:
        self._outlet = outlet
        self._method = method
        self._snapshot = snapshot
        self._leave = leave
        self._missed = missed
        self._held = True
        self._behind = False
        self._finished = False
        self.closed = False

    def send(self, params: Event) -> None:
        """Send one event, or miss it."""
        if self.closed:
            return
        if self._held or self._behind or not self._outlet.has_room:
            self._behind = True
            if self._missed is not None:
                self._missed(params)
            return
        self._outlet.post(notification_line(self._method, params))

    def release(self) -> None:
        """Send events from now on."""
        self._held = False
        self.catch_up()

    def catch_up(self) -> None:
        """Send the whole snapshot where events were missed."""
        if not self._behind or self._held or self.closed:
            return
        self._behind = False
        for params in self._snapshot():
            self._outlet.post(notification_line(self._method, params))
        if self._finished:
            self.close()

    def finish(self) -> None:
        """Nothing follows: close once everything is sent."""
        self._finished = True
        if not (self._held or self._behind):
            self.close()

    def close(self) -> None:
        """Send no more, and end the subscription."""
        if not self.closed:
            self.closed = True
            self._leave()
