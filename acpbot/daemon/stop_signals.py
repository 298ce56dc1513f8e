"""SIGTERM and SIGINT: the first one asks the daemon to stop; after a second one the kernel ends it, whatever hangs.

Source: signal(7), setitimer(2).
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

FORCED_SECONDS: Final = 10.0
"""How long a daemon that was asked twice may take to kill its agents and to close its database."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Calls ``stop`` on the event loop at each signal, until :meth:`release`; to be made in the main thread.

    The handlers are Python's and not asyncio's: those would wait for an event loop that hangs.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None], *, forced_seconds: float = FORCED_SECONDS
    ) -> None:
        self._forced_seconds = forced_seconds
        self._loop = loop
        self._stop = stop
        self._count = 0
        self._before: dict[int, Any] = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}

    def release(self) -> None:
        """Handle signals as before. An end that has been forced stays so."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._count += 1
        if self._count == 2:  # noqa: PLR2004 - the second
            # A timer of the kernel's: no thread that hangs can delay it, and none has to be started for it.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, self._forced_seconds)
        self._loop.call_soon_threadsafe(self._stop)
