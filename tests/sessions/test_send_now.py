"""A turn that waits is sent now: the running one is cancelled for it, and it goes before those that wait."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque

from acpbot.sessions.turn import OPERATOR, Place, Turn
from acpbot.sessions.turn_queue import find, put_first
from acpbot.sessions.watchdog import CANCEL_PATIENCE_SECONDS
from acpbot.storage.store import Store
from tests.support.pool import Harness, Listener
from tests.support.scripted_agents import END, Gate, says, scripted


def queue_of(*keys: str) -> deque[Turn]:
    return deque(Turn([], Listener(), text=key, key=key) for key in keys)


def test_what_is_to_run_now_goes_before_the_others_in_the_order_in_which_that_was_wanted():
    queue = queue_of("one", "two", "three", "four")
    for key in ("three", "four"):
        put_first(queue, next(turn for turn in queue if turn.key == key))
    assert [turn.key for turn in queue] == ["three", "four", "one", "two"]


def test_without_a_key_the_last_turn_is_meant_that_is_not_to_run_now_already():
    queue = queue_of("one", "two")
    put_first(queue, queue[1])
    found = find(queue, None)
    assert found is not None
    assert found.key == "one"
    put_first(queue, found)
    assert find(queue, None) is None


async def running(harness: Harness, text: str = "say begun; stall 60") -> Listener:
    listener = harness.send("t1", text)
    await listener.sees("agent_message_chunk")
    return listener


async def test_the_third_of_three_turns_that_wait_runs_next(harness):
    first = await running(harness)
    others = [harness.send("t1", f"say {word}") for word in ("two", "three", "four")]
    assert harness.pool.send_now("t1", "say four", by="7") == "interrupted"
    await asyncio.wait_for(others[2].over.wait(), 20)
    assert first.text == "begun"
    assert (first.end.stop_reason, first.end.cancelled_by, first.end.interrupted) == ("cancelled", "7", True)
    await asyncio.wait_for(others[1].over.wait(), 20)
    assert [other.text for other in others] == ["two", "three", "four"]


async def test_the_places_of_those_that_wait_say_what_can_be_done(harness):
    places: list[Place] = []

    def seen() -> list[tuple[int, bool, bool]]:
        return sorted((place.ahead, place.may_interrupt, place.is_next) for place in places)

    await running(harness, "say begun; hang")
    for number in (1, 2):
        turn = Turn([], Listener(), text="say on", key=str(number), on_place=places.append)
        harness.pool.submit("t1", turn, platform="test", owner="7")
    assert seen() == [(1, True, False), (2, True, False)]
    places.clear()
    harness.pool.send_now("t1", "2")
    assert seen() == [(1, False, True), (2, False, False)]


async def test_what_an_agent_says_until_it_obeys_belongs_to_the_interrupted_answer(make_harness, tmp_path):
    gate = Gate(tmp_path / "gate")
    script = scripted(prompts=[[says("begun"), gate.step, says(", and more"), END], [says("next"), END]])
    harness = make_harness(argv=script)
    first = await running(harness, "go")
    then = harness.send("t1", "say next")
    assert harness.pool.send_now("t1", "say next") == "interrupted"
    await gate.open()
    await asyncio.wait_for(then.over.wait(), 20)
    assert (first.text, first.end.stop_reason, first.end.interrupted) == ("begun, and more", "cancelled", True)
    assert then.text == "next"


async def test_an_agent_that_never_obeys_is_ended_and_the_turn_runs_in_the_next_process(harness):
    first = await running(harness, "say begun; hang")
    after, now = harness.send("t1", "say after"), harness.send("t1", "say now")
    assert harness.pool.send_now("t1", "say now") == "interrupted"
    assert harness.pool.send_now("t1", "say after") == "next", "it is being cancelled already"
    harness.clock.move(CANCEL_PATIENCE_SECONDS)
    harness.pool.tick()
    await asyncio.wait_for(now.over.wait(), 20)
    assert (first.text, now.text) == ("begun", "now")
    await asyncio.wait_for(after.over.wait(), 20)
    assert after.text == "after"


async def test_a_permission_that_waits_is_cancelled(harness):
    first = harness.send("t1", "tool echo hi")
    await asyncio.wait_for(first.wants_permission.wait(), 20)
    harness.send("t1", "say two")
    assert harness.pool.send_now("t1", "say two") == "interrupted"
    await asyncio.wait_for(first.over.wait(), 20)
    assert first.ask_outcomes == ["cancelled"]


async def test_what_has_been_taken_back_or_is_unknown_is_not_sent(harness):
    await running(harness)
    harness.send("t1", "say two")
    assert harness.pool.withdraw("t1", "say two")
    assert harness.pool.send_now("t1", "say two") == "gone"
    assert harness.pool.send_now("t2", "say two") == "gone"
    assert harness.row("t1").state == "busy"


async def test_a_turn_that_is_accepted_to_run_now_cancels_the_running_one(harness):
    first = await running(harness)
    harness.send("t1", "say two")
    listener = Listener()
    turn = Turn([{"type": "text", "text": "say now"}], listener, text="say now", now=True)
    assert harness.pool.submit("t1", turn, platform="test") == 1
    await asyncio.wait_for(listener.over.wait(), 20)
    assert (first.end.cancelled_by, first.end.interrupted) == (OPERATOR, True)
    assert listener.text == "now"


async def test_a_restart_keeps_the_order(tmp_path, make_harness):
    store = Store.open(tmp_path / "acpbot.sqlite3")
    harness = make_harness(store=store)
    await running(harness, "say begun; hang")
    for key in ("one", "two", "three"):
        turn = Turn([], Listener(), text=key, key=key, message=key.encode(), turn_id=key)
        harness.pool.submit("t1", turn, platform="test", owner="7")
    harness.pool.send_now("t1", "three")
    late = Turn([], Listener(), text="four", key="four", message=b"four", turn_id="four", now=True)
    harness.pool.submit("t1", late, platform="test", owner="7")
    await store.durable()
    with contextlib.closing(sqlite3.connect(tmp_path / "acpbot.sqlite3")) as database:
        rows = database.execute("SELECT turn_id FROM turns ORDER BY sequence").fetchall()
    assert [turn_id for (turn_id,) in rows] == ["three", "four", "one", "two"]


async def test_in_the_line_a_turn_goes_before_the_others_of_its_thread(make_harness):
    harness = make_harness(max_sessions=1)
    await running(harness)
    waiting = [harness.send("t2", f"say {word}") for word in ("one", "two")]
    assert harness.pool.send_now("t2", "say two") == "next"
    harness.session("t1").turns.cancel()
    await asyncio.wait_for(waiting[1].over.wait(), 20)
    assert not waiting[0].over.is_set()
