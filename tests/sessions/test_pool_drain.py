"""A pool that drains, is quiet, is forced, and is held to other settings."""

from __future__ import annotations

import asyncio

import pytest

from acpbot.errors import Draining, InvalidParams
from tests.support.pool import make_settings

PATIENCE = 20


async def within(work):
    return await asyncio.wait_for(work, PATIENCE)


def permit(listener) -> None:
    (ask,) = listener.asks
    ask.select(next(option.option_id for option in ask.options if option.kind == "allow_once"))


async def waiting(harness, thread: str):
    """A turn that goes on until it is permitted."""
    listener = harness.send(thread, "tool true")
    await within(listener.wants_permission.wait())
    return listener


async def test_the_pool_is_quiet_when_the_last_turn_has_ended(harness):
    await within(harness.pool.quiet())
    one, two = await waiting(harness, "1001"), await waiting(harness, "1002")
    queued = harness.send("1001", "say b")
    quiet = asyncio.create_task(harness.pool.quiet())
    for listener in (one, two):
        assert not quiet.done()
        permit(listener)
        await within(listener.over.wait())
    await within(quiet)
    assert (queued.end.stop_reason, queued.text) == ("end_turn", "b")


async def test_the_pool_is_not_quiet_while_a_session_with_a_turn_starts(harness):
    listener = harness.send("1001", "say a")
    assert harness.row("1001").state == "starting"
    quiet = asyncio.create_task(harness.pool.quiet())
    await within(quiet)
    assert listener.end.stop_reason == "end_turn"


async def test_the_pool_is_quiet_after_its_turns_were_killed_or_withdrawn(harness):
    listener = await waiting(harness, "1001")
    harness.send("1001", "say b")
    quiet = asyncio.create_task(harness.pool.quiet())
    assert harness.session("1001").turns.withdraw("say b")
    harness.session("1001").end("killed", grace=0.1)
    await within(quiet)
    assert listener.end is not None


async def test_while_draining_a_turn_that_was_accepted_runs_even_after_a_crash(harness):
    crashing = harness.send("1001", "tool true; crash")
    await within(crashing.wants_permission.wait())
    queued = harness.send("1001", "say b")
    harness.pool.draining = True
    permit(crashing)
    await within(harness.pool.quiet())
    assert (crashing.end.stop_reason, queued.end.stop_reason, queued.text) == ("error", "end_turn", "b")
    with pytest.raises(Draining):
        harness.send("1001", "say c")


async def test_a_pool_that_stops_starts_no_session(harness):
    crashing = harness.send("1001", "tool true; crash")
    await within(crashing.wants_permission.wait())
    queued = harness.send("1001", "say b")
    closing = asyncio.create_task(harness.pool.close(grace_seconds=0.5))
    await within(queued.over.wait())
    await within(closing)
    assert queued.end.stop_reason == "error"
    assert harness.pool.sessions() == []


async def test_end_turns_cancels_running_turns_and_refuses_queued_ones(harness):
    running, starting = await waiting(harness, "1001"), harness.send("1002", "say a")
    queued = harness.send("1001", "say b")
    harness.pool.draining = True
    harness.pool.end_turns("cannot run this")
    assert {(one.end.stop_reason, one.end.error) for one in (starting, queued)} == {("error", "cannot run this")}
    await within(running.over.wait())
    await within(harness.pool.quiet())
    assert (running.end.stop_reason, harness.row("1001").state) == ("cancelled", "idle")
    harness.pool.draining = False
    assert (await harness.turn("1001", "say c")).text == "c"


async def test_a_forced_end_takes_no_grace_whatever_runs_or_ends(make_harness):
    harness = make_harness(grace_seconds=300)
    hung = [harness.send(thread, "ignore; say up; hang") for thread in ("1001", "1002")]
    for listener in hung:
        await listener.sees("up")
    harness.session("1001").end("killed")
    quiet = asyncio.create_task(harness.pool.quiet())
    harness.pool.force()
    await within(quiet)
    await within(harness.pool.close())
    assert [listener.end.error for listener in hung] == [None, "I'm restarting, so this answer is incomplete."]
    assert {reason for _, reason, _ in harness.events.endings} == {"killed", "stopped"}


async def test_a_session_that_was_ending_gets_no_more_time_than_the_others(harness):
    hung = harness.send("1001", "ignore; say up; hang")
    await hung.sees("up")
    ending = harness.session("1001").end("killed", grace=300)
    await within(harness.pool.close(grace_seconds=0.2))
    assert (ending.result().processes_left, hung.end.stop_reason) == (0, "cancelled")


async def test_while_draining_a_thread_with_a_session_can_be_opened(harness):
    listener = await waiting(harness, "1001")
    harness.pool.draining = True
    assert harness.pool.ensure("1001", platform="test") is harness.pool.get("1001")
    with pytest.raises(Draining):
        harness.pool.ensure("1002", platform="test")
    permit(listener)
    await within(listener.over.wait())


# Other settings.


async def test_new_settings_hold_for_the_pool_at_once_and_for_a_session_when_it_is_new(harness):
    listener = await waiting(harness, "1001")
    harness.pool.reconfigure(make_settings(harness.tmp_path, max_sessions=1, policy="allow"))
    assert harness.pool.max_sessions == harness.pool.counts().max == 1
    permit(listener)
    await within(listener.over.wait())
    allowed = await harness.turn("1002", "tool true")
    assert (allowed.end.stop_reason, allowed.asks) == ("end_turn", [])
    assert harness.row("1001").state == "suspended"


async def test_an_agent_removed_from_the_settings_stays_for_its_threads(harness):
    await harness.turn("1001", "remember the blue door")
    harness.offer_agents("new")
    assert list(harness.pool.agents) == ["new"]
    assert (await harness.turn("1001", "say still here")).text == "still here"
    await asyncio.wait_for(harness.session("1001").end("expired"), PATIENCE)
    assert "the blue door" in (await harness.turn("1001", "recall")).text
    assert (harness.row("1001").agent, harness.pool.ensure("1002", platform="test").thread.agent) == ("demo", "new")
    with pytest.raises(InvalidParams, match="the agents are new"):
        harness.pool.ensure("1003", platform="test", agent="demo")


async def test_an_agent_removed_from_the_settings_is_forgotten_once_no_thread_uses_it(harness):
    await harness.turn("1001", "say a")
    harness.offer_agents("new")
    harness.offer_agents("newer")
    assert (await harness.turn("1001", "say b")).text == "b"
    await asyncio.wait_for(harness.session("1001").end("expired"), PATIENCE)
    assert harness.pool.forget("1001")
    harness.offer_agents("newer")
    with pytest.raises(InvalidParams, match="the agents are newer"):
        harness.pool.ensure("1001", platform="test", agent="demo")
    assert harness.pool.ensure("1001", platform="test").thread.agent == "newer"
