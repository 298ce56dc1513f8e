"""Processes that wait for the next threads: started, taken, replaced, ended and shown."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import msgspec
import pytest

from acpbot.errors import InvalidParams
from acpbot.sessions.views import Target
from acpbot.sessions.warm_agents import OLDEST_SECONDS
from acpbot.sessions.workspace import check_thread_id
from acpbot.storage.store import Store
from tests.support.pool import Harness, faulty


def warm_rows(harness: Harness) -> list:
    return [row for row in harness.pool.rows() if row.platform == "warm"]


async def look_until(harness: Harness, states: list[str]) -> list:
    """Look at them once, and wait until they are in these states."""
    changed = asyncio.Event()
    leave = harness.pool.subscribe(lambda _change, _row: changed.set())
    harness.pool.tick()
    async with asyncio.timeout(20):
        while [row.state for row in warm_rows(harness)] != states:
            changed.clear()
            await changed.wait()
    leave()
    return warm_rows(harness)


async def test_a_thread_takes_a_process_that_waits_and_another_one_is_started(make_harness):
    harness = make_harness(warm=1)
    (waiting,) = await look_until(harness, ["warm"])
    assert (waiting.agent, waiting.alive, waiting.title, waiting.owner) == ("demo", True, None, None)
    assert harness.pool.counts().warm == 1
    assert harness.pool.counts().sessions == 0
    turn = await harness.turn("t1", "pid")
    assert turn.text.strip() == f"My pid is {waiting.pid}."
    assert harness.row("t1").session_id == waiting.session_id
    assert harness.row("t1").cwd.endswith("/t1")
    assert warm_rows(harness) == []
    (following,) = await look_until(harness, ["warm"])
    assert following.pid != waiting.pid
    workspaces = harness.tmp_path / "workspaces"
    assert f"Working directory: {workspaces}\n" in (await harness.turn("t1", "env")).text
    assert not list(workspaces.glob("warm*"))


async def test_a_conversation_is_resumed_in_a_process_that_waited(make_harness, tmp_path):
    harness = make_harness(warm=1, env={"ACPBOT_DEMO_STATE": str(tmp_path / "state")})
    await harness.turn("t1", "remember the word")
    await harness.pool.suspend("t1", harness.session("t1").session_id)
    (waiting,) = await look_until(harness, ["warm"])
    assert (await harness.turn("t1", "recall")).text.strip() == "You told me to remember: the word"
    assert harness.row("t1").session_id == waiting.session_id


async def test_a_process_with_earlier_settings_is_not_taken_and_is_replaced(make_harness):
    harness = make_harness(warm=1)
    (waiting,) = await look_until(harness, ["warm"])
    agent = msgspec.structs.replace(harness.settings.agents["demo"], env={"ACPBOT_DEMO_PACE": "0", "MORE": "1"})
    harness.pool.reconfigure(msgspec.structs.replace(harness.settings, agents={"demo": agent}))
    turn = await harness.turn("t1", "env")
    assert "MORE" in turn.text
    assert harness.row("t1").session_id != waiting.session_id
    harness.pool.tick()
    assert sorted(row.state for row in warm_rows(harness)) == ["closing", "starting"]
    assert not harness.pool.outdated()


async def test_it_makes_room_for_a_thread_and_nobody_waits_for_it(make_harness):
    harness = make_harness(warm=2, max_sessions=2)
    await look_until(harness, ["warm", "warm"])
    harness.offer_agents("other", "demo")
    assert (await harness.turn("t1", "say one")).text == "one"
    assert (await harness.turn("t2", "say two")).text == "two"
    assert harness.pool.counts().in_line == 0
    harness.pool.tick()
    assert warm_rows(harness) == [], "there is no place left"


async def test_it_is_killed_as_a_session_is_and_replaced(make_harness):
    harness = make_harness(warm=1)
    (waiting,) = await look_until(harness, ["warm"])
    target = Target(thread_id=waiting.thread_id, session_id=waiting.session_id)
    (result,) = await harness.pool.kill([target])
    assert (result.outcome, result.processes_left, result.proof) == ("ended", 0, "system")
    assert result.processes_ended > 0
    await look_until(harness, ["warm"])


async def test_its_row_and_its_detail_are_found_and_no_thread_can_have_its_id(make_harness):
    harness = make_harness(warm=1)
    (waiting,) = await look_until(harness, ["warm"])
    assert harness.pool.resolve(waiting.thread_id) == waiting.thread_id
    detail = await harness.pool.detail(waiting.thread_id)
    assert [row.pid for row in detail.process_tree][:1] == [waiting.pid]
    with pytest.raises(InvalidParams):
        check_thread_id(waiting.thread_id)


async def test_one_that_is_a_day_old_is_replaced_and_none_expires(make_harness):
    harness = make_harness(warm=1)
    (waiting,) = await look_until(harness, ["warm"])
    harness.clock.move(OLDEST_SECONDS - 1)
    harness.pool.tick()
    assert [row.session_id for row in warm_rows(harness)] == [waiting.session_id]
    harness.clock.move(2)
    harness.pool.tick()
    states = {row.session_id: row.state for row in warm_rows(harness)}
    assert states.pop(waiting.session_id) == "closing"
    assert list(states.values()) == ["starting"]


async def test_after_a_failure_the_next_start_waits_longer_each_time(make_harness, caplog):
    harness = make_harness(warm=1, argv=faulty("exit 3"))
    waits = []
    for _ in range(3):
        await look_until(harness, [])
        waits.append(next(one.fields["retry_in"] for one in reversed(caplog.records) if "retry_in" in one.fields))
        harness.pool.tick()
        assert warm_rows(harness) == []
        harness.clock.move(waits[-1])
    assert waits == [1.0, 2.0, 4.0]


async def test_one_that_ends_while_it_waits_is_not_taken(make_harness):
    harness = make_harness(warm=1)
    (waiting,) = await look_until(harness, ["warm"])
    session = harness.pool.get(waiting.thread_id)
    assert session is not None
    assert session.process is not None
    session.process.kill()
    with contextlib.suppress(Exception):
        await session.process.wait()
    assert (await harness.turn("t1", "say on")).text == "on"
    assert harness.row("t1").session_id != waiting.session_id


async def test_one_that_ends_as_it_is_taken_loses_no_turn(make_harness):
    harness = make_harness(warm=1)
    (waiting,) = await look_until(harness, ["warm"])
    turn = harness.send("t1", "say on")
    session = harness.session("t1")
    assert session.session_id == waiting.session_id
    assert session.process is not None
    session.process.kill()
    await asyncio.wait_for(turn.over.wait(), 20)
    assert turn.text == "on"
    assert harness.events.endings == []


async def test_where_each_thread_has_a_home_of_its_own_none_is_started(make_harness):
    harness = make_harness(warm=1, runtime="bubblewrap")
    harness.pool.tick()
    assert harness.pool.rows() == []


async def test_a_daemon_that_starts_after_a_crash_finds_it(make_harness, tmp_path):
    store = Store.open(tmp_path / "acpbot.sqlite3")
    harness = make_harness(warm=1, store=store)

    async def places() -> list[tuple[str, str]]:
        await store.durable()
        with contextlib.closing(sqlite3.connect(tmp_path / "acpbot.sqlite3")) as database:
            return database.execute("SELECT session_id, thread_id FROM places").fetchall()

    (waiting,) = await look_until(harness, ["warm"])
    assert await places() == [(waiting.session_id, waiting.thread_id)]
    assert harness.pool.live == [waiting.session_id]
    await harness.turn("t1", "say on")
    assert await places() == [(waiting.session_id, "t1")]
    await harness.pool.kill([harness.target("t1")])
    assert await places() == []


async def test_none_is_started_while_acpbot_drains(make_harness):
    harness = make_harness(warm=1)
    harness.pool.draining = True
    harness.pool.tick()
    assert harness.pool.rows() == []
