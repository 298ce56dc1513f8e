"""Whether a session still answers: some agents end every prompt at once, and empty, for good after a cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from acpbot.acp.connection import PromptEnded
    from acpbot.sessions.turn import Turn

_AT_ONCE_SECONDS: Final = 2.0


class EmptyReplyDetector:
    """What tells an agent that has nothing to say from one that is spoilt.

    A prompt that comes to nothing right after a cancel is tried once more in a new process, where the session is
    reopened, and if it comes to nothing there too, in a new session. So a turn is given back twice at most.
    """

    def __init__(self) -> None:
        self.spoke = False
        """Whether the running turn has had content, or a permission request."""
        self.reopened = False
        """Whether the ACP session was begun by an earlier process."""
        self.retried: Turn | None = None
        """The turn that the session before this one gave back."""
        self._cancelled = False

    def turn_ended(self, turn: Turn) -> None:
        """Note how it was; a turn that came to something takes away the doubt."""
        self._cancelled = turn.cancelled_at is not None or (self._cancelled and not self.spoke)

    def should_retry(self, turn: Turn, ended: PromptEnded, seconds: float) -> bool:
        """Whether the turn, answered after ``seconds``, should be tried by another session."""
        empty = ended.stop_reason == "end_turn" and not self.spoke and turn.cancelled_at is None
        suspect = self._cancelled or (self.reopened and turn is self.retried)
        return empty and suspect and seconds < _AT_ONCE_SECONDS
