"""Who is told how turns and sessions end, to count them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acpbot.sessions.turn import TurnEnd
    from acpbot.sessions.views import KillResult, Reason


class Watcher:
    """Does nothing; the metrics of the daemon count. A method may not block, and may not raise."""

    def turn_ended(self, end: TurnEnd) -> None:
        """A turn that was started is over."""

    def session_ended(self, agent: str, reason: Reason) -> None:
        """A session has ended."""

    def kill_ended(self, result: KillResult) -> None:
        """A target of a kill has been dealt with."""
