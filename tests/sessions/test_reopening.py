"""Conversations that are resumed, with agents that misbehave then (tests/fakes/agents/faulty.py)."""

from __future__ import annotations

import pytest

from tests.sessions.test_pool import kill
from tests.support.turn_listener import send, settled, turn

IMPATIENCE = 0.5


@pytest.mark.parametrize(
    ("quirk", "acp_session_id"),
    [
        ("answers session/load null", "acp-1"),
        ("answers session/load {}", "acp-1"),
        ("answers session/resume null", "acp-1"),
        ("answers session/resume {}", "acp-1"),
        ("replays load", "acp-1"),
        ("replays resume", "acp-1"),
        ("refuses -32002 session/load", "acp-2"),
        ("refuses -32603 session/load", "acp-2"),
        ("refuses -32601 session/load session/resume", "acp-2"),
        ("refuses -32002 session/resume", "acp-2"),
        ("refuses 400 session/resume session/load", "acp-2"),
        ("answers session/resume [7]", "acp-1"),
        ("answers session/load nothing", "acp-1"),
        ("answers session/resume nothing", "acp-1"),
    ],
)
async def test_a_conversation_is_resumed_or_started_fresh(faulty_harness, quirk, acp_session_id):
    harness = faulty_harness(quirk)
    await turn(harness, "one")
    assert harness.row("1001").acp_session_id == "acp-1"
    await kill(harness, "1001")
    two = await turn(harness, "two")
    assert (two.text, two.kinds, two.end.stop_reason) == ("two", ["agent_message_chunk"], "end_turn")
    row = harness.row("1001")
    assert (row.acp_session_id, row.activity, row.state) == (acp_session_id, None, "idle")


async def test_the_old_id_is_kept_until_a_new_session_is_open(faulty_harness):
    harness = faulty_harness("refuses -32603 session/load session/new")
    await turn(harness, "one")
    await kill(harness, "1001")
    assert "it said no" in (await turn(harness, "two")).error
    await settled(harness)
    assert (harness.row("1001").state, harness.row("1001").acp_session_id) == ("suspended", "acp-1")


async def test_a_resume_that_crashes_is_reported_and_keeps_the_old_id(faulty_harness):
    harness = faulty_harness("dies session/resume")
    await turn(harness, "one")
    await kill(harness, "1001")
    assert "it ended (exit code 3) before it answered" in (await turn(harness, "two")).error
    assert harness.row("1001").acp_session_id == "acp-1"


async def test_a_resume_that_takes_too_long_is_reported_and_keeps_the_old_id(faulty_harness):
    harness = faulty_harness("slow_to_resume", start_timeout_seconds=IMPATIENCE)
    await turn(harness, "one")
    await kill(harness, "1001")
    late = await turn(harness, "two")
    assert "did not answer session/resume within 0.5 s; the conversation is kept: try again" in late.error
    assert late.text == ""
    await settled(harness)
    row = harness.row("1001")
    assert (row.state, row.acp_session_id, harness.events.started_fresh) == ("suspended", "acp-1", [])
    assert (await turn(harness, "three")).text == "three"
    assert (harness.row("1001").acp_session_id, harness.events.started_fresh) == ("acp-1", [])


async def test_an_agent_that_does_not_answer_resume_is_asked_to_load(faulty_harness):
    harness = faulty_harness("deaf_to session/resume resume load", start_timeout_seconds=IMPATIENCE)
    await turn(harness, "one")
    await kill(harness, "1001")
    assert (await turn(harness, "two")).text == "two"
    assert (harness.row("1001").acp_session_id, harness.events.started_fresh) == ("acp-1", [])


async def test_a_resume_that_hangs_holds_up_no_other_thread(faulty_harness):
    harness = faulty_harness("deaf_to session/resume")
    await turn(harness, "one")
    await kill(harness, "1001")
    hanging = send(harness, "two")
    assert (await turn(harness, "one", thread="1002")).text == "one"
    assert harness.row("1001").state == "starting"
    assert not hanging.over.is_set()
    assert (await kill(harness, "1001")).outcome == "ended"
