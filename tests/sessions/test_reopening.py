"""A session's next life, with agents that misbehave in it (tests/fakes/agents/faulty.py)."""

from __future__ import annotations

import pytest

from tests.sessions.hearer import send, settled, turn
from tests.sessions.test_pool import kill

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
async def test_a_reopening(faulty_house, quirk, acp_session_id):
    house = faulty_house(quirk)
    await turn(house, "one")
    assert house.row("1001").acp_session_id == "acp-1"
    await kill(house, "1001")
    two = await turn(house, "two")
    assert (two.text, two.kinds, two.end.stop_reason) == ("two", ["agent_message_chunk"], "end_turn")
    row = house.row("1001")
    assert (row.acp_session_id, row.activity, row.state) == (acp_session_id, None, "idle")


async def test_the_old_id_is_kept_until_a_new_session_is_open(faulty_house):
    house = faulty_house("refuses -32603 session/load session/new")
    await turn(house, "one")
    await kill(house, "1001")
    assert "it said no" in (await turn(house, "two")).end.error
    await settled(house)
    assert (house.row("1001").state, house.row("1001").acp_session_id) == ("suspended", "acp-1")


async def test_a_reopening_that_crashes_is_told_and_keeps_the_old_id(faulty_house):
    house = faulty_house("dies session/resume")
    await turn(house, "one")
    await kill(house, "1001")
    assert "it ended (exit code 3) before it answered" in (await turn(house, "two")).end.error
    assert house.row("1001").acp_session_id == "acp-1"


async def test_a_reopening_that_takes_too_long_is_told_and_keeps_the_old_id(faulty_house):
    house = faulty_house("slow_to_resume", start_timeout=IMPATIENCE)
    await turn(house, "one")
    await kill(house, "1001")
    late = await turn(house, "two")
    assert "did not answer session/resume within 0.5 s; the conversation is kept: try again" in late.end.error
    assert late.text == ""
    await settled(house)
    row = house.row("1001")
    assert (row.state, row.acp_session_id, house.told.afresh) == ("suspended", "acp-1", [])
    assert (await turn(house, "three")).text == "three"
    assert (house.row("1001").acp_session_id, house.told.afresh) == ("acp-1", [])


async def test_an_agent_that_is_deaf_to_one_way_of_reopening_is_asked_the_other(faulty_house):
    house = faulty_house("deaf_to session/resume resume load", start_timeout=IMPATIENCE)
    await turn(house, "one")
    await kill(house, "1001")
    assert (await turn(house, "two")).text == "two"
    assert (house.row("1001").acp_session_id, house.told.afresh) == ("acp-1", [])


async def test_a_reopening_that_hangs_holds_nobody_else_up(faulty_house):
    house = faulty_house("deaf_to session/resume")
    await turn(house, "one")
    await kill(house, "1001")
    hanging = send(house, "two")
    assert (await turn(house, "one", thread="1002")).text == "one"
    assert house.row("1001").state == "starting"
    assert not hanging.over.is_set()
    assert (await kill(house, "1001")).outcome == "ended"
