"""Sessions as they change: pushed by the daemon where it can, else asked for every second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from acpctl.exit_codes import DONE
from acpctl.render.session_rows import session_table, sums
from acpctl.text import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpctl.client import Connection, Message
    from acpctl.options import Globals

_SECOND: Final = 1.0
_TOGETHER: Final = 0.1  # seconds: changes that come this close are told in one line
_QUIT: Final = frozenset({"q", "ctrl-d"})

Row = dict[str, Any]


class Live:
    """The rows of ``sessions.list`` with ``params``, kept up to date."""

    def __init__(self, connection: Connection, params: dict[str, Any]) -> None:
        self.limit: object = None
        self._connection = connection
        self._params = params
        self._state = params.get("state")
        # A stream tells of sessions; threads without a process are found by asking.
        self.pushed = connection.offers("sessions.watch") and not params.get("suspended")
        self._rows: dict[str, tuple[float, Row]] = {}

    def start(self) -> None:
        """Get the first rows."""
        if self.pushed:
            self._whole(self._connection.call("sessions.watch"), "sessions.watch")
        else:
            self.ask()

    def ask(self) -> None:
        """Ask for all rows anew."""
        self._connection.renew()
        params = {} if self.pushed else self._params
        self._whole(self._connection.call("sessions.list", params), "sessions.list")

    def take(self, messages: list[Message]) -> bool:
        """Take in what was pushed; whether anything changed."""
        changed = False
        for message in messages:
            event = message.get("params")
            if message.get("method") != "sessions.event" or not isinstance(event, dict):
                continue
            changed = True
            if event.get("event") == "snapshot":
                self._whole(event, "sessions.watch")
            elif isinstance(row := event.get("session"), dict):
                self._one(row, gone=event.get("event") == "gone")
        return changed

    def wait(self) -> None:
        """Wait for a change where changes are pushed, else for a second. ``Failure`` (6) where the daemon goes."""
        if not self.pushed:
            self._connection.arrived(_SECOND)
            self.ask()
            return
        while not self.take(self._connection.arrived()):
            continue
        until = time.monotonic() + _TOGETHER
        while (left := until - time.monotonic()) > 0:
            self.take(self._connection.arrived(left))

    def rows(self) -> list[Row]:
        """The rows as they are now: their times have gone on since they were told."""
        now = time.monotonic()
        rows = [_later(row, now - at) for at, row in self._rows.values()]
        return [row for row in rows if self._state is None or row.get("state") == self._state]

    def answer(self) -> dict[str, Any]:
        """The rows as ``sessions.list`` would have them."""
        return {"sessions": self.rows(), "max_sessions": self.limit}

    def _whole(self, told: Message, method: str) -> None:
        self.limit = told.get("max_sessions", self.limit)
        now = time.monotonic()
        rows = self._connection.rows(told, "sessions", method)
        self._rows = {str(row.get("thread_id")): (now, row) for row in rows}

    def _one(self, row: Row, *, gone: bool) -> None:
        thread = str(row.get("thread_id"))
        if not gone:
            self._rows[thread] = (time.monotonic(), row)
        elif thread in self._rows and row.get("session_id") in (None, self._rows[thread][1].get("session_id")):
            del self._rows[thread]


def _later(row: Row, seconds: float) -> Row:
    running = number(row.get("turn_seconds")) is not None
    names = ("turn_seconds", "silent_seconds") if running else ("idle_seconds",)
    later = {name: round(value + seconds, 3) for name in names if (value := number(row.get(name))) is not None}
    return {**row, **later}


def watch_sessions(options: Globals, params: dict[str, Any], *, output: str) -> int:
    """`acpctl sessions --watch`: until q, Ctrl-C, or the reader has gone."""
    out = options.out
    with options.connect() as connection:
        live = Live(connection, params)
        live.start()
        if not out.terminal or output == "json":
            while not out.reader_gone:
                out.json(live.answer(), line=True)
                live.wait()
            return DONE

        def lines() -> list[str]:
            rows = live.rows()
            head = f"acpbot {connection.version}  {sums(rows, live.limit)}"
            table = out.table(*session_table(rows, out, wide=output == "wide")) if rows else ["no sessions"]
            return [head, "", *table]

        return draw_live(options, live, connection, lines)


def draw_live(
    options: Globals,
    live: Live,
    connection: Connection,
    lines: Callable[[], list[str]],
    *,
    on_key: Callable[[str], None] | None = None,
    foot: str = "q leaves",
    ask_every: float | None = None,
) -> int:
    """Redraw ``lines`` on every change and every second, until q.

    ``ask_every``: so many seconds apart, all rows are asked for even where changes are pushed.
    """
    from acpctl.terminal.raw_terminal import Screen  # noqa: PLC0415 - needed on a terminal only

    asked = time.monotonic()
    pause = ask_every if live.pushed else _SECOND
    with Screen() as screen:
        while True:
            screen.draw(lines(), options.out.paint(foot, "dim"))
            keys, _ = screen.wait(_SECOND, connection.fileno())
            if _QUIT.intersection(keys):
                return DONE
            if on_key is not None:
                for key in keys:
                    on_key(key)
            live.take(connection.arrived(0))
            if pause is not None and time.monotonic() - asked >= pause * 0.95:
                asked = time.monotonic()
                live.ask()


def every_second(options: Globals, method: str, lines: Callable[[dict[str, Any]], list[str]], *, drawn: bool) -> int:
    """Ask for ``method`` every second; draw ``lines`` of the answer on a terminal, else write one object a line."""
    out = options.out
    with options.connect() as connection:
        connection.need(method, "watch")
        if not (out.terminal and drawn):
            while not out.reader_gone:
                connection.renew()
                out.json(connection.call(method), line=True)
                connection.arrived(_SECOND)
            return DONE
        from acpctl.terminal.raw_terminal import Screen  # noqa: PLC0415 - needed on a terminal only

        answer = connection.call(method)
        with Screen() as screen:
            while True:
                screen.draw(lines(answer), out.paint("q leaves", "dim"))
                keys, _ = screen.wait(_SECOND, connection.fileno())
                if _QUIT.intersection(keys):
                    return DONE
                connection.arrived(0)
                connection.renew()
                answer = connection.call(method)
