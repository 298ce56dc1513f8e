"""An event loop whose clock jumps: where nothing is left to do now, it is at once as late as the next timer wants.

What runs in it alone takes no real time and always goes the same way; it must wait for nothing from outside.
"""

from __future__ import annotations

import asyncio
import selectors


class _Jumping(selectors.DefaultSelector):
    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("everything waits, and for nothing that will come")
        if not ready:
            self.now += timeout or 0.0
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See above; :meth:`time` is the virtual clock, in seconds."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        # A jump is a sum of floating-point numbers: a timer may be met by a little less.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jumping.now
