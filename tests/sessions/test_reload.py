"""A reload holds for sessions that run: permissions, gate and limits at use; what can't change is named."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from acpbot.errors import AgentRemoved, TooMany
from acpbot.sessions.turn import UNCHECKED, Turn
from tests.support.pool import Listener
from tests.support.pool_restarts import started


def running(harness) -> list[str]:
    return [row.thread_id for row in harness.pool.rows() if row.state != "closing"]


def reload_agent(harness, **changes) -> None:
    agent = msgspec.structs.replace(harness.settings.agents["demo"], **changes)
    harness.pool.reconfigure(msgspec.structs.replace(harness.settings, agents={"demo": agent}))


async def test_a_policy_that_becomes_deny_holds_in_a_session_that_runs(make_harness):
    harness = make_harness(policy="allow")
    assert "completed" in (await harness.turn("1001", "tool")).statuses
    harness.reload(policy="deny")
    listener = await harness.turn("1001", "tool")
    assert (listener.asks, "completed" in listener.statuses) == ([], False)


async def test_a_policy_that_becomes_deny_holds_for_what_was_allowed_always(harness):
    first = harness.send("1001", "tool")
    await first.wants_permission.wait()
    always = next(option.option_id for option in first.asks[0].options if option.kind == "allow_always")
    first.asks[0].select(always, by="7")
    await first.over.wait()
    harness.reload(policy="deny")
    assert "completed" not in (await harness.turn("1001", "tool")).statuses
    harness.reload(policy="ask")
    assert "completed" in (await harness.turn("1001", "tool")).statuses


async def test_a_policy_that_becomes_deny_rejects_the_open_request(harness):
    listener = harness.send("1001", "tool")
    await listener.wants_permission.wait()
    harness.reload(policy="deny")
    assert listener.asks[0].chosen.kind == "reject_once"
    await listener.over.wait()
    assert "completed" not in listener.statuses


async def test_a_shorter_queue_and_a_shorter_silence_hold_in_a_session_that_runs(harness):
    await harness.tool("1001")
    harness.send("1001", "say a")
    harness.reload(max_queued=1, stuck_after_seconds=5)
    with pytest.raises(TooMany):
        harness.send("1001", "say b")
    harness.clock.move(6)
    assert harness.row("1001").state == "stuck"


async def test_fewer_sessions_hold_as_soon_as_enough_are_idle(make_harness):
    harness = make_harness(max_sessions=4)
    for thread in ("1001", "1002", "1003"):
        harness.clock.move(1)
        await harness.turn(thread, "say a")
    busy = await harness.tool("1004")
    harness.reload(max_sessions=1)
    with pytest.raises(TooMany):
        harness.pool.ensure("1005", platform="test")
    assert running(harness) == ["1001", "1002", "1003", "1004"], "a refusal suspends nothing"
    harness.pool.tick()
    assert running(harness) == ["1004"]
    harness.reload(max_sessions=2)
    assert (await harness.turn("1005", "say a")).text == "a"
    harness.reload(max_sessions=1)
    await harness.pool.cancel("1004")
    await busy.over.wait()
    harness.pool.tick()
    assert len(running(harness)) == 1


async def test_a_new_session_makes_all_the_room_that_a_smaller_limit_asks_for(make_harness):
    harness = make_harness(max_sessions=4)
    for thread in ("1001", "1002", "1003", "1004"):
        await harness.turn(thread, "say a")
    harness.reload(max_sessions=2)
    assert (await harness.turn("1005", "say a")).text == "a"
    assert len(running(harness)) == 2


async def test_fewer_sessions_of_a_person_hold_as_soon_as_enough_are_idle(harness):
    for thread in ("1001", "1002", "1003"):
        harness.clock.move(1)
        await harness.turn(thread, "say a")
    await harness.turn("2001", "say b", asker="8")
    harness.reload(max_sessions_per_user=1)
    harness.pool.tick()
    assert running(harness) == ["1003", "2001"]


async def test_sessions_that_use_earlier_settings_of_their_agent_are_named_until_they_end(harness):
    await harness.turn("1001", "say a")
    assert harness.pool.outdated() == []
    reload_agent(harness, start_timeout_seconds=7)
    assert harness.pool.outdated() == [], "that is of no use to a session that runs"
    reload_agent(harness, memory_max=2**30, pids_max=9)
    await harness.turn("1002", "say a")
    assert harness.pool.outdated() == [("demo", ("memory_max", "pids_max"), ("1001",))]
    await harness.pool.suspend("1001", harness.row("1001").session_id)
    assert harness.pool.outdated() == []


async def test_a_removed_agent_is_named_in_its_thread_and_works_until_the_next_start(harness):
    await harness.turn("1001", "say a")
    harness.offer_agents("other")
    assert harness.pool.removed_agents() == {"demo": 1}
    assert harness.events.removed == [("1001", "demo")]
    await harness.pool.suspend("1001", harness.row("1001").session_id)
    assert (await harness.turn("1001", "say b")).text == "b"
    assert harness.events.removed == [("1001", "demo"), ("1001", "demo")]


async def test_after_a_start_a_thread_of_a_removed_agent_names_the_way_out(tmp_path):
    async with started(tmp_path) as earlier:
        earlier.offer_agents("removed", "demo")
        await earlier.turn("1001", "say a")
    async with started(tmp_path) as harness:
        with pytest.raises(
            AgentRemoved, match=r"^cannot use agent 'removed' of 1001: .*choose demo with /agent"
        ) as refused:
            harness.send("1001", "say b")
        assert refused.value.agent == "removed"
        assert harness.pool.removed_agents() == {"removed": 1}
        harness.pool.ensure("1001", platform="test", owner="7", agent="demo")
        assert (await harness.turn("1001", "say b")).text == "b"
        assert harness.pool.removed_agents() == {}


def turn_with(check, text: str = "say a") -> tuple[Turn, Listener]:
    listener = Listener()
    return Turn([{"type": "text", "text": text}], listener, text=text, key=text, asker="7", check=check), listener


async def test_a_turn_whose_asker_may_not_ask_any_more_ends_when_its_time_comes(harness):
    async def refuse() -> str:
        return "You no longer have access."

    running_turn = await harness.tool("1001")
    refused, listener = turn_with(refuse, "say refused")
    harness.pool.submit("1001", refused, platform="test", owner="7")
    follower = harness.send("1001", "say next")
    await harness.pool.cancel("1001")
    await running_turn.over.wait()
    await follower.over.wait()
    assert (listener.end.stop_reason, listener.error, listener.text) == ("error", "You no longer have access.", "")
    assert follower.text == "next"


async def test_a_turn_whose_check_fails_does_not_run(harness):
    async def fail() -> str:
        raise RuntimeError

    turn, listener = turn_with(fail)
    harness.pool.submit("1001", turn, platform="test", owner="7")
    await listener.over.wait()
    assert (listener.text, listener.error) == ("", UNCHECKED)


async def test_a_check_that_is_cut_short_by_the_end_of_its_session_is_made_again(harness):
    begun, answers = asyncio.Event(), ["You no longer have access."]

    async def check() -> str:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        return answers[0]

    turn, listener = turn_with(check)
    harness.pool.submit("1001", turn, platform="test", owner="7")
    await begun.wait()
    harness.session("1001").end("crashed", grace=0.0)
    await listener.over.wait()
    assert (listener.text, listener.error) == ("", answers[0])
