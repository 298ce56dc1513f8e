"""What people read whose message is refused: friendly, and with the way out. Pure."""

from __future__ import annotations

from acpbot.chat.rendering.markdown import plain
from acpbot.errors import AcpbotError, TooMany


def refusal_text(error: AcpbotError, asker: str) -> str:
    """One or two sentences; ``asker`` is the id of the person who reads it."""
    match error:
        case TooMany(limit="sessions"):
            busy = "My only agent is" if error.count == 1 else f"All {error.count} agents are"
            return f"{busy} busy. Please try again in a while."
        case TooMany(limit="sessions_of_person"):
            who = "You already have" if error.person == asker else "The person who started this thread already has"
            agents = "1 busy agent" if error.count == 1 else f"{error.count} busy agents"
            return f"{who} {agents}, and that's the limit. Wait for an answer, or free one with /close in its thread."
        case TooMany(limit="line", person=None):
            return f"All my agents are busy, and {error.count} threads are already in line. Please try again later."
        case TooMany(limit="line"):
            return f"You already have {error.count} threads in line, and that's the limit. Please try again later."
        case TooMany(limit="queue"):
            return f"The queue is full ({error.count} waiting). Please resend once I've answered one."
        case TooMany(limit="queue_of_person"):
            messages = "1 message" if error.count == 1 else f"{error.count} messages"
            return (
                f"You already have {messages} waiting, and that's the limit. Please resend once I've answered one, "
                "or free a thread with /close."
            )
        case _:
            return plain(error.for_people)
