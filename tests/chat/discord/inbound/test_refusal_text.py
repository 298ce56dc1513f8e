"""What people read whose message is refused."""

from __future__ import annotations

import pytest

from acpbot.chat.discord.inbound.refusal_text import refusal_text
from acpbot.errors import AgentRemoved, Conflict, TooMany

RESEND = "Please resend once I've answered one"
FREE_ONE = "and that's the limit. Wait for an answer, or free one with /close in its thread."
CASES = [
    (TooMany("cannot x", limit="sessions", count=3), "All 3 agents are busy. Please try again in a while."),
    (
        TooMany("cannot x", limit="line", count=100),
        "All my agents are busy, and 100 threads are already in line. Please try again later.",
    ),
    (
        TooMany("cannot x", limit="line", count=25, person="7"),
        "You already have 25 threads in line, and that's the limit. Please try again later.",
    ),
    (
        TooMany("cannot x", limit="sessions_of_person", count=2, person="7"),
        f"You already have 2 busy agents, {FREE_ONE}",
    ),
    (
        TooMany("cannot x", limit="sessions_of_person", count=1, person="8"),
        f"The person who started this thread already has 1 busy agent, {FREE_ONE}",
    ),
    (
        TooMany("cannot x", limit="queue", count=4),
        f"The queue is full (4 waiting). {RESEND}.",
    ),
    (
        TooMany("cannot x", limit="queue_of_person", count=1, person="7"),
        f"You already have 1 message waiting, and that's the limit. {RESEND}, or free a thread with /close.",
    ),
    (
        AgentRemoved("cannot x", "old"),
        "This thread's agent old is no longer available. Pick another one with /agent.",
    ),
    (Conflict("cannot do that: it runs"), Conflict.for_people),
]


@pytest.mark.parametrize(
    ("error", "text"), CASES, ids=[type(error).__name__ + str(i) for i, (error, _) in enumerate(CASES)]
)
def test_a_refusal_is_friendly_and_names_the_way_out(error, text):
    assert refusal_text(error, "7") == text
