"""A list of sessions on the whole screen: it scrolls and filters; a selected session is shown, cancelled or killed."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpctl.errors import CliError
from acpctl.exit_codes import TIMED_OUT, UNREACHABLE
from acpctl.terminal.list_view import ListView
from acpctl.terminal.screen import Screen
from acpctl.text import clean, exceeds, truncate, width
from acpctl.thread_refs import ThreadRef, fetch_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from acpctl.client import DaemonConnection
    from acpctl.render.output import Output

Row = dict[str, Any]

_TICK_SECONDS: Final = 1.0
_QUIT_KEYS: Final = frozenset({"q", "ctrl-d"})
_BACK_KEYS: Final = frozenset({"escape", "backspace", "enter", "q", "left"})
_HEAD_LINES: Final = 3  # the summary, a blank line, the header of the table
_LOW_LINES: Final = 8
_MEASURED: Final = 200  # of a longer list only what is on the screen is laid out
_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")
# The most important first: as many are shown as fit.
_HELP: Final = ("q leaves", "? all keys", "j/k select", "Enter shows", "c cancels", "K kills", "/ filters")
_PAGE_HELP: Final = ("q goes back", "arrows scroll", "c cancels the turn", "k kills")
_ALL_KEYS: Final = (
    ("j k, arrows", "select"),
    ("PgUp PgDn", "move by a screen"),
    ("g G", "the first, the last one"),
    ("/", "filter by a text"),
    ("Esc", "drop the filter"),
    ("Enter", "show the session"),
    ("c", "cancel its turn"),
    ("K", "kill it, after a question"),
    ("q, Ctrl-D", "leave"),
)


class Parts(NamedTuple):
    """What a list shows, and does beside moving about.

    ``rows``: all of them, in order. ``head``: facts about those that are listed, the most important first. ``table``: a
    header and a line for each row. ``page``: a session whole. ``refresh`` brings the rows up to date. ``kill`` asks,
    and ends a session: the screen is the user's meanwhile. ``keys`` are further keys; ``help`` says how each sorts:
    ``m by memory``.
    """

    rows: Callable[[], list[Row]]
    head: Callable[[list[Row]], Sequence[str]]
    table: Callable[[list[Row]], list[str]]
    page: Callable[[Row], list[str]]
    refresh: Callable[[], None]
    kill: Callable[[Row], None]
    keys: Mapping[str, Callable[[], None]]
    help: Sequence[str] = ()
    empty: str = "no sessions run"


def browse_sessions(connection: DaemonConnection, out: Output, parts: Parts) -> None:
    """Show the list until q or Ctrl-D. Raises ``CliError`` where the daemon has gone."""
    _Browser(connection, out, parts).run()


class _Browser:
    def __init__(self, connection: DaemonConnection, out: Output, parts: Parts) -> None:
        self._connection = connection
        self._out = out
        self._parts = parts
        self._view = ListView()
        self._message = ""
        self._detail: Row | None = None  # of the session that is shown whole
        self._detail_at = 0.0
        self._helps = False  # all keys are on the screen
        self._scrolled = 0  # lines of its page that are above the screen

    def run(self) -> None:
        with Screen() as screen:
            self._screen = screen
            while True:
                rows = self._view.matching(self._parts.rows())
                if self._helps:
                    lines, footer = self._keys(), self._footer(["any key goes back"])
                else:
                    lines, footer = self._list(rows) if self._detail is None else self._page(self._detail)
                screen.draw(lines, footer)
                for key in screen.wait(_TICK_SECONDS, self._connection.fileno()):
                    self._message = ""
                    if self._helps:
                        self._helps = False
                    elif self._detail is not None:
                        self._page_key(key)
                    elif not self._view.typing and key in _QUIT_KEYS:
                        return
                    else:
                        self._list_key(key, rows)
                self._parts.refresh()
                if self._detail is not None and time.monotonic() - self._detail_at >= _TICK_SECONDS:
                    self._attempt(self._fetch, self._detail)

    # Drawing.

    def _list(self, rows: list[Row]) -> tuple[list[str], str]:
        height = _row_places(len(rows))
        shown = self._view.window(rows, height)
        found = f"  /{self._view.filter}" if self._view.filter or self._view.typing else ""
        lines = [self._fit(self._joined([*self._parts.head(rows)], "  ") + found), *([] if _is_low() else [""])]
        if not rows:
            return [*lines, "no session matches the filter" if found else self._parts.empty], self._footer([*_HELP])
        header, *table = self._parts.table(rows if len(rows) <= _MEASURED else shown)
        table = table[self._view.first : self._view.first + height] if len(rows) <= _MEASURED else table
        for row, line in zip(shown, table, strict=False):
            is_selected = self._view.selected is not None and row.get("thread_id") == self._view.selected
            lines.append(self._selected(line) if is_selected else line)
        lines.insert(1 if _is_low() else 2, header)
        above, below = self._view.first, len(rows) - self._view.first - len(shown)
        if (above or below) and not _is_low():
            counts = [*([f"{above} above"] if above else []), *([f"{below} more"] if below else [])]
            lines.append(f"… {', '.join(counts)}")
        return lines, self._footer([*_HELP, *self._parts.help])

    def _page(self, detail: Row) -> tuple[list[str], str]:
        lines = self._parts.page(detail)
        height = max(1, shutil.get_terminal_size().lines - 1)
        self._scrolled = max(0, min(self._scrolled, len(lines) - height))
        return lines[self._scrolled : self._scrolled + height], self._footer([*_PAGE_HELP])

    def _keys(self) -> list[str]:
        own = [(text[0], f"sort {text[2:]}") for text in self._parts.help]
        return ["Keys", "", *self._out.fields([(keys, (does, "")) for keys, does in (*_ALL_KEYS, *own)])]

    def _footer(self, texts: list[str]) -> str:
        if self._view.typing:
            return self._fit(f"/{self._view.filter}_  Enter keeps the filter, Esc drops it")
        if self._message:
            return self._out.paint(self._fit(self._message), "yellow")
        return self._out.paint(self._fit(self._joined(texts, ", ")), "dim")

    def _joined(self, texts: list[str], between: str) -> str:
        """As many of the texts as fit; the first one always."""
        while len(texts) > 1 and exceeds(between.join(texts), self._out.columns()):
            texts = texts[:-1]
        return between.join(texts)

    def _fit(self, line: str) -> str:
        return truncate(line, self._out.columns())

    def _selected(self, line: str) -> str:
        plain = _STYLE.sub("", line)
        return f"\x1b[7m{plain}{' ' * max(0, self._out.columns() - width(plain))}\x1b[27m"

    # Keys.

    def _list_key(self, key: str, rows: list[Row]) -> None:
        if key == "?" and not self._view.typing:
            self._helps = True
        elif key in self._parts.keys and not self._view.typing:
            self._parts.keys[key]()
        elif not self._view.key(key, rows, _row_places(len(rows))) and key in {"enter", "c", "K"}:
            index = self._view.index(rows)
            if index is None:
                self._message = "select a session first: j and k, or the arrows, move"
            elif key == "enter":
                self._scrolled = 0
                self._attempt(self._fetch, rows[index])
            else:
                self._act(key, rows[index])

    def _page_key(self, key: str) -> None:
        steps = {"down": 1, "j": 1, "up": -1, "page-down": 10, " ": 10, "page-up": -10}
        if self._detail is None:
            return
        if key in steps:
            self._scrolled += steps[key]
        elif key in _BACK_KEYS or key == "ctrl-d":
            self._detail = None
        elif key in {"c", "k", "K"}:
            self._act(key, self._detail)

    def _act(self, key: str, row: Row) -> None:
        if row.get("session_id") is None:
            self._message = f"{clean(row.get('thread_id'))} has no process"
        elif self._connection.access == "read":
            self._message = "your access to this acpbot is read-only"
        elif key == "c":
            self._attempt(self._cancel, row)
        else:
            with self._screen.paused():
                self._parts.kill(row)
            self._detail = None

    def _attempt(self, action: Callable[[Row], None], row: Row) -> None:
        """Do it; what the daemon refuses is shown. Raises ``CliError`` where the daemon does not answer."""
        try:
            action(row)
        except CliError as error:
            if error.exit_code in {UNREACHABLE, TIMED_OUT}:
                raise
            self._message, self._detail = error.message, None

    def _cancel(self, row: Row) -> None:
        thread = row.get("thread_id")
        answer = self._connection.call("sessions.cancel", {"thread": thread, "session_id": row.get("session_id")})
        idle = answer.get("outcome") == "idle"
        self._message = f"{clean(thread)}: {'no turn is running' if idle else 'cancelled'}"

    def _fetch(self, row: Row) -> None:
        thread = str(row.get("thread_id"))
        self._detail = fetch_session(self._connection, ThreadRef(thread, thread, exact=True))
        self._detail_at = time.monotonic()


def _is_low() -> bool:
    """Whether the terminal is so low that the rows need the lines between them and the head."""
    return shutil.get_terminal_size().lines < _LOW_LINES


def _row_places(rows: int) -> int:
    """How many of so many rows fit on the screen; where not all do, a line says how many more there are."""
    if _is_low():
        return max(1, shutil.get_terminal_size().lines - 1 - 2)
    places = max(1, shutil.get_terminal_size().lines - 1 - _HEAD_LINES)
    return places if rows <= places else max(1, places - 1)
