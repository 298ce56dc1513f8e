"""A turn that a limit ends says which limit that was."""

from __future__ import annotations

import asyncio

from tests.support.pool import faulty

TOO_LONG = "Stopped after 2 minutes, the limit for one turn."
NOT_STOPPED = "The agent didn't stop when asked, so I ended its session."


async def pass_time(harness, *steps: float) -> None:
    for seconds in steps:
        harness.clock.move(seconds)
        harness.pool.tick()


async def test_a_turn_that_takes_too_long_is_told_that_and_not_silence(make_harness):
    harness = make_harness(turn_timeout_seconds=120)
    listener = await harness.tool("1001")
    await pass_time(harness, 120)
    await asyncio.wait_for(listener.over.wait(), 20)
    assert (listener.end.stop_reason, listener.error) == ("cancelled", TOO_LONG)
    assert harness.events.stuck == []


async def test_a_turn_that_was_silent_and_then_takes_too_long_is_told_the_limit(make_harness):
    harness = make_harness(turn_timeout_seconds=120, stuck_after_seconds=60)
    listener = await harness.tool("1001")
    await pass_time(harness, 60, 60)
    await asyncio.wait_for(listener.over.wait(), 20)
    assert (len(harness.events.stuck), listener.error) == (1, TOO_LONG)


async def test_a_silent_turn_that_is_cancelled_is_told_the_silence(make_harness):
    harness = make_harness(stuck_after_seconds=60, on_stuck="cancel")
    listener = await harness.tool("1001")
    await pass_time(harness, 60)
    await asyncio.wait_for(listener.over.wait(), 20)
    assert listener.error == "The agent was silent for 60 seconds, so I stopped it."


async def test_a_silent_turn_whose_session_is_killed_is_told_the_silence(make_harness):
    harness = make_harness(stuck_after_seconds=60, on_stuck="kill")
    listener = await harness.tool("1001")
    await pass_time(harness, 60)
    await asyncio.wait_for(listener.over.wait(), 20)
    assert listener.error == "The agent was silent for 60 seconds, so I ended its session."


async def test_a_cancel_of_a_person_that_the_agent_ignores_is_told_as_that(make_harness):
    harness = make_harness(argv=faulty("deaf_to session/prompt"), grace_seconds=0.2)
    listener = harness.send("1001", "go on")
    await asyncio.wait_for(listener.running.wait(), 20)
    await harness.pool.cancel("1001")
    await pass_time(harness, 31)
    await asyncio.wait_for(listener.over.wait(), 20)
    assert listener.error == NOT_STOPPED


async def test_a_turn_that_a_person_cancels_has_no_other_reason(harness):
    listener = await harness.tool("1001")
    await harness.pool.cancel("1001")
    await asyncio.wait_for(listener.over.wait(), 20)
    assert (listener.end.stop_reason, listener.end.error) == ("cancelled", None)
