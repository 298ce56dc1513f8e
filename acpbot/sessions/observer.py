"""What a session is held to, and what it tells the pool that it lives in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from acpbot.acp.permissions import Policy
    from acpbot.sessions.session import Session
    from acpbot.sessions.turn import Turn

Reason = Literal["killed", "crashed", "start_failed", "evicted", "expired", "stuck", "stopped", "replaced"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is held to; durations in seconds. ``max_queued`` leaves out the running turn."""

    policy: Policy = "ask"
    permission_seconds: float = 300.0
    grace_seconds: float = 5.0
    stuck_after_seconds: float = 600.0
    max_queued: int = 10


class SessionObserver(Protocol):
    """What a session tells the pool that it lives in."""

    def session_changed(self, session: Session) -> None:
        """Something that its row shows has changed."""

    def session_launched(self, session: Session) -> None:
        """Its agent's process runs."""

    async def turn_starting(self, turn: Turn) -> None:
        """A turn's prompt is about to be sent: once this returns, it may be."""

    def session_afresh(self, session: Session) -> None:
        """Its thread's conversation could not be picked up again: the agent has forgotten it."""

    def session_ending(self, session: Session) -> None:
        """It begins to end, and takes no more turns."""

    def session_ended(self, session: Session, reason: Reason, detail: str | None, queued: list[Turn]) -> None:
        """It is gone, checked; ``queued`` are the turns that never ran."""
