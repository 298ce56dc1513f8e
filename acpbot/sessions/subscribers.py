"""Who follows the rows of all sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.sessions.views import Row

log = get_logger(__name__)

Change = Literal["changed", "gone"]


class Subscribers:
    """Callbacks that may not block; a defect of one keeps nothing from the others."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Change, Row], None]] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._callbacks)

    def add(self, callback: Callable[[Change, Row], None]) -> Callable[[], None]:
        """Call ``callback`` from now on; return a function that ends this."""
        self._callbacks.append(callback)

        def leave() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return leave

    def publish(self, change: Change, row: Row) -> None:
        """Report a row to all."""
        for callback in tuple(self._callbacks):
            try:
                callback(change, row)
            except Exception:
                # One subscriber's defect must not keep the row from the others.
                log.exception("session_listener_failed", thread=row.thread_id)
