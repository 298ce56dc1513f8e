"""Sessions that stay up to date: the daemon pushes their changes where it can, else we ask for them every second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from acpctl.quantities import number

if TYPE_CHECKING:
    from acpctl.client import DaemonConnection, Message

POLL_SECONDS: Final = 1.0
_BATCH_SECONDS: Final = 0.1  # changes within this time count as one

Row = dict[str, Any]


class LiveSessions:
    """The rows of ``sessions.list`` with ``params``, kept up to date by ``sessions.watch`` or by polling.

    ``poll_pushed``: ask every second too where changes are pushed, for values whose changes are not.
    """

    def __init__(self, connection: DaemonConnection, params: dict[str, Any], *, poll_pushed: bool = False) -> None:
        self.max_sessions: object = None
        self._connection = connection
        self._params = params
        self._wanted = {name: params[name] for name in ("state", "agent", "owner") if name in params}
        # `sessions.watch` leaves out suspended threads; only `sessions.list` has them.
        self._pushed = connection.offers("sessions.watch") and not params.get("suspended")
        self._polls = poll_pushed or not self._pushed
        self._polled_at = time.monotonic()
        self._rows: dict[str, tuple[float, Row]] = {}  # by thread id, with the time when the row came
        if self._pushed:
            self._replace(connection.call("sessions.watch"), "sessions.watch")
        else:
            self._poll()

    def refresh(self) -> None:
        """Apply the changes that have come; poll where that is due."""
        self._apply(self._connection.receive(0))
        if self._polls and time.monotonic() - self._polled_at >= POLL_SECONDS * 0.95:
            self._poll()

    def wait_for_change(self) -> None:
        """Return after the next change where changes are pushed, else after a second.

        Raises ``CliError`` (exit 6) where the daemon closes the connection.
        """
        if not self._pushed:
            self._connection.receive(POLL_SECONDS)
            self._poll()
            return
        while not self._apply(self._connection.receive()):
            continue
        until = time.monotonic() + _BATCH_SECONDS
        while (left := until - time.monotonic()) > 0:
            self._apply(self._connection.receive(left))

    def rows(self) -> list[Row]:
        """The rows as they are now: their durations have grown since they came."""
        now = time.monotonic()
        rows = [_aged(row, now - at) for at, row in self._rows.values()]
        return [row for row in rows if all(row.get(name) == value for name, value in self._wanted.items())]

    def _poll(self) -> None:
        self._polled_at = time.monotonic()
        self._connection.reset_deadline()
        params = {} if self._pushed else self._params
        self._replace(self._connection.call("sessions.list", params), "sessions.list")

    def _apply(self, messages: list[Message]) -> bool:
        """Apply pushed changes; whether there were any."""
        changed = False
        for message in messages:
            event = message.get("params")
            if message.get("method") != "sessions.event" or not isinstance(event, dict):
                continue
            changed = True
            if event.get("event") == "snapshot":
                self._replace(event, "sessions.watch")
            elif isinstance(row := event.get("session"), dict):
                self._update(row, gone=event.get("event") == "gone")
        return changed

    def _replace(self, answer: Message, method: str) -> None:
        self.max_sessions = answer.get("max_sessions", self.max_sessions)
        now = time.monotonic()
        rows = self._connection.parse_rows(answer, "sessions", method)
        self._rows = {str(row.get("thread_id")): (now, row) for row in rows}

    def _update(self, row: Row, *, gone: bool) -> None:
        thread = str(row.get("thread_id"))
        if not gone:
            self._rows[thread] = (time.monotonic(), row)
        elif thread in self._rows and row.get("session_id") in (None, self._rows[thread][1].get("session_id")):
            del self._rows[thread]


def _aged(row: Row, seconds: float) -> Row:
    in_turn = number(row.get("turn_seconds")) is not None
    names = ("turn_seconds", "silent_seconds") if in_turn else ("idle_seconds",)
    later = {name: round(value + seconds, 3) for name in names if (value := number(row.get(name))) is not None}
    return {**row, **later}
