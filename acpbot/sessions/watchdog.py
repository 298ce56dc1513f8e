"""Stuck turns: what is to be done about a turn that says nothing, or goes on too long."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from acpbot.sessions.session import Session

OnStuck = Literal["notify", "cancel", "kill"]

CANCEL_PATIENCE_SECONDS: Final = 30.0
"""How long after a cancel an agent may take to end its turn; the slowest that obeys was seen to take 6 s."""


class Verdict(enum.Enum):
    """What a look at a running turn asks for."""

    FINE = "fine"
    NOTIFY = "notify"
    CANCEL = "cancel"
    KILL = "kill"


def review(session: Session, turn_timeout_seconds: float, on_stuck: OnStuck) -> Verdict:
    """Judge the running turn: a hard ceiling first, then silence; a turn that waits for a person is fine.

    A cancelled turn that does not end is ended with its session, so that the thread can go on.
    """
    turn = session.turn
    if turn is None:
        return Verdict.FINE
    if turn.cancelled_at is not None:
        waited = session.seconds_since(turn.cancelled_at)
        return Verdict.KILL if waited >= CANCEL_PATIENCE_SECONDS else Verdict.FINE
    if session.turn_seconds >= turn_timeout_seconds:
        return Verdict.CANCEL
    if session.state != "stuck":
        return Verdict.FINE
    return Verdict(on_stuck)
