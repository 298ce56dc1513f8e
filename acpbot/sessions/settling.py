"""A turn whose prompt is answered: it ends once nothing more has come for a moment. ACP has no sign for that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.sessions.turn import TurnEnd

# How often text after a prompt's answer may make the turn wait for more.
_TIMES: Final = 10


class Settling:
    """Calls ``on_settled`` with the end after ``pause`` seconds without :meth:`heard`, ten times that at most."""

    def __init__(self, pause: float, on_settled: Callable[[TurnEnd], None]) -> None:
        self._pause = pause
        self._on_settled = on_settled
        self._end: TurnEnd | None = None
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def active(self) -> bool:
        """Whether a prompt is answered whose turn has not ended."""
        return self._end is not None

    def begin(self, end: TurnEnd) -> None:
        """The prompt is answered."""
        self._end, self._began = end, asyncio.get_running_loop().time()
        self.heard()

    def heard(self) -> None:
        """Something more has come: wait again."""
        if self._end is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(min(loop.time() + self._pause, self._began + _TIMES * self._pause), self.finish)

    def finish(self) -> None:
        """End the turn now, if its prompt is answered already."""
        end = self._end
        self.cancel()
        if end is not None:
            self._on_settled(end)

    def cancel(self) -> None:
        """The turn has ended."""
        self._end = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
