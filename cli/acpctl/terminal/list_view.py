"""Which rows of a list fit on a screen, which one is selected, and which ones a filter leaves. Pure."""

from __future__ import annotations

from typing import Any, Final

from acpctl.text import clean

Row = dict[str, Any]

_SEARCHED: Final = ("thread_id", "state", "agent", "owner", "title", "activity", "waiting_for", "cwd")
_STEPS: Final = {"j": 1, "down": 1, "k": -1, "up": -1}
_PAGES: Final = {"page-down": 1, " ": 1, "page-up": -1}
_ENDS: Final = {"home": False, "g": False, "end": True, "G": True}


class ListView:
    """The state of a list that people scroll, select in and filter; a row is named by its ``thread_id``."""

    def __init__(self) -> None:
        self.selected: str | None = None
        self.filter = ""
        self.typing = False
        """Whether the keys that come are of the filter."""
        self.first = 0
        """The index of the first row on the screen."""

    def matching(self, rows: list[Row]) -> list[Row]:
        """The rows that hold the filter's text in a field, whatever the case."""
        text = self.filter.strip().casefold()
        return [row for row in rows if any(text in clean(row.get(name)).casefold() for name in _SEARCHED)]

    def window(self, rows: list[Row], height: int) -> list[Row]:
        """At most ``height`` of the rows, the selected one among them; rows that have moved take the screen along."""
        index = self.index(rows)
        if index is not None:
            self.first = max(min(self.first, index), index - height + 1)
        self.first = max(0, min(self.first, len(rows) - height))
        return rows[self.first : self.first + height]

    def index(self, rows: list[Row]) -> int | None:
        """Where the selected row is; ``None`` where none is selected, or it has gone."""
        return next((at for at, row in enumerate(rows) if row.get("thread_id") == self.selected), None)

    def key(self, key: str, rows: list[Row], height: int) -> bool:
        """Handle a key that moves the selection, or one of the filter; whether it was one."""
        if self.typing:
            self._type(key)
        elif key == "/":
            self.typing = True
        elif key in _STEPS:
            self._select(rows, _STEPS[key])
        elif key in _PAGES:
            self._select(rows, _PAGES[key] * max(1, height - 1))
        elif key in _ENDS:
            self._select(rows, len(rows) if _ENDS[key] else -len(rows))
        elif key == "escape":
            self._let_go()
        else:
            return False
        return True

    def _let_go(self) -> None:
        """Select nothing any more; where nothing is selected, drop the filter."""
        if self.selected is None:
            self.filter = ""
        self.selected = None

    def _type(self, key: str) -> None:
        if key == "enter":
            self.typing = False
        elif key == "escape":
            self.typing, self.filter = False, ""
        elif key == "backspace":
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter += key

    def _select(self, rows: list[Row], by: int) -> None:
        if not rows:
            return
        index = self.index(rows)
        at = (self.first if abs(by) <= 1 else self.first + by) if index is None else index + by
        self.selected = str(rows[max(0, min(at, len(rows) - 1))].get("thread_id"))
