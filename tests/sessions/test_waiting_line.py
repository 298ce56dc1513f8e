"""Threads that wait for an agent while all are busy: in line, in order, over a restart too."""

from __future__ import annotations

import pytest

from acpbot.chat.place_text import place_text
from acpbot.errors import TooMany
from acpbot.sessions import waiting_line
from acpbot.sessions.turn import DEFERRED, Place, Turn
from tests.sessions.test_pool import kill
from tests.support.pool import Harness, Listener
from tests.support.pool_restarts import rows, started


def ask(harness: Harness, thread: str, text: str, who: str = "7", **more) -> tuple[Listener, list[Place]]:
    """A turn that waits, and the places that it is told."""
    listener = Listener()
    places: list[Place] = []
    turn = Turn([{"type": "text", "text": text}], listener, text=text, key=text, asker=who, message=b"{}", **more)
    turn.on_place = places.append
    harness.pool.submit(thread, turn, platform="test", owner=who)
    return listener, places


def line(harness: Harness) -> list[tuple[str, str, int]]:
    """The threads in line, by their rows."""
    shown = harness.pool.rows(suspended=True)
    return [(row.thread_id, row.state, row.queued) for row in shown if row.state == "suspended" and row.queued]


async def test_threads_that_find_all_agents_busy_run_in_their_order_as_places_get_free(make_harness):
    harness = make_harness(max_sessions=1)
    busy = await harness.tool("1001")
    (first, places), (second, more) = ask(harness, "1002", "say b"), ask(harness, "1003", "say c")
    assert (places, more) == ([Place(0, 1, 1)], [Place(0, 2, 1)])
    assert line(harness) == [("1002", "suspended", 1), ("1003", "suspended", 1)]
    assert (harness.pool.counts().queued, harness.pool.counts().in_line) == (0, 2)
    await harness.pool.cancel("1001")
    await busy.over.wait()
    await first.over.wait()
    await second.over.wait()
    assert (first.text, second.text) == ("b", "c")
    assert more[:2] == [Place(0, 2, 1), Place(0, 1, 1)]
    assert line(harness) == []


async def test_what_is_written_in_a_waiting_thread_waits_there_and_keeps_its_order(make_harness):
    harness = make_harness(max_sessions=1, max_queued=1)
    busy = await harness.tool("1001")
    first, _ = ask(harness, "1002", "say b")
    second, places = ask(harness, "1002", "say c")
    assert places == [Place(1, 1, 1)]
    with pytest.raises(TooMany, match="1 message is already waiting"):
        ask(harness, "1002", "say d")
    turn = harness.pool.revise("1002", "say c", [{"type": "text", "text": "say changed"}], "say changed")
    assert turn is not None
    await kill(harness, "1001")
    await busy.over.wait()
    await second.over.wait()
    assert (first.text, second.text) == ("b", "changed")


@pytest.mark.parametrize("how", ["withdraw", "cancel", "asker"])
async def test_a_turn_can_be_taken_out_of_the_line(make_harness, how):
    harness = make_harness(max_sessions=1)
    await harness.tool("1001")
    gone, _ = ask(harness, "1002", "say b")
    _, places = ask(harness, "1003", "say c", "8")
    match how:
        case "withdraw":
            assert harness.pool.withdraw("1002", "say b")
        case "cancel":
            assert await harness.pool.cancel("1002") == "cancelled"
        case "asker":
            assert harness.pool.withdraw_from_line("1003", "7") == 0
            assert harness.pool.withdraw_from_line("1002", "7") == 1
    assert gone.end.stop_reason == "cancelled"
    assert places == [Place(0, 2, 1), Place(0, 1, 1)]
    assert line(harness) == [("1003", "suspended", 1)]


async def test_the_line_is_bounded_for_all_and_for_one_person(make_harness, monkeypatch):
    monkeypatch.setattr(waiting_line, "MOST", 3)
    monkeypatch.setattr(waiting_line, "MOST_OF_PERSON", 2)
    harness = make_harness(max_sessions=1)
    await harness.tool("1001")
    ask(harness, "1002", "say a")
    ask(harness, "1003", "say b")
    with pytest.raises(TooMany) as told:
        ask(harness, "1004", "say c")
    assert (told.value.limit, told.value.count, told.value.person) == ("line", 2, "7")
    ask(harness, "1005", "say d", "8")
    with pytest.raises(TooMany) as told:
        ask(harness, "1006", "say e", "9")
    assert (told.value.limit, told.value.count, told.value.person) == ("line", 3, None)


async def test_the_queue_of_a_person_counts_what_is_in_line(make_harness):
    harness = make_harness(max_sessions=1, max_queued_per_user=1)
    await harness.tool("1001")
    ask(harness, "1002", "say a")
    with pytest.raises(TooMany, match="max_queued_per_user"):
        ask(harness, "1003", "say b")


async def test_the_line_is_there_again_after_a_restart_in_the_same_order(tmp_path):
    async with started(tmp_path, max_sessions=1) as first:
        await first.tool("1001")
        waiting = [ask(first, thread, f"say {thread}")[0] for thread in ("1002", "1003")]
        left = await first.killed()
        await first.pool.close(grace_seconds=0.1)
        assert [listener.end.stop_reason for listener in waiting] == [DEFERRED, DEFERRED]
    assert [(row["thread_id"], row["state"]) for row in rows(left, "turns")] == [
        ("1002", "queued"),
        ("1003", "queued"),
    ]
    assert [row["thread_id"] for row in rows(tmp_path / "acpbot.sqlite3", "turns")] == ["1002", "1003"]
    async with started(tmp_path, left, max_sessions=1, max_sessions_per_user=1) as second:
        again = [ask(second, thread, f"say {thread}", recovered=True)[0] for thread in ("1002", "1003")]
        for listener in again:
            await listener.over.wait()
        assert [listener.text for listener in again] == ["1002", "1003"]


async def test_nobody_waits_behind_a_person_who_has_too_many_sessions(make_harness):
    harness = make_harness(max_sessions=2, max_sessions_per_user=1)
    await harness.tool("1001", asker="7")
    mine, places = ask(harness, "1002", "say mine", recovered=True)
    other, _ = ask(harness, "1003", "say other", "8")
    await other.over.wait()
    assert (other.text, places) == ("other", [Place(0, 1, 0)])
    await kill(harness, "1001")
    await mine.over.wait()
    assert mine.text == "mine"


@pytest.mark.parametrize("agent", [None, "other"])
async def test_a_thread_that_starts_over_keeps_what_waits_in_it(make_harness, agent):
    harness = make_harness(max_sessions=1)
    harness.offer_agents("demo", "other")
    running = await harness.tool("1001")
    first, _ = ask(harness, "1001", "say one")
    second, _ = ask(harness, "1001", "say two")
    elsewhere, _ = ask(harness, "1002", "say three")
    before = harness.row("1001").session_id
    assert await harness.pool.start_over("1001", agent=agent)
    assert running.end.stop_reason == "cancelled"
    for listener in (first, second, elsewhere):
        await listener.over.wait()
    assert (first.text, second.text, elsewhere.text) == ("one", "two", "three")
    thread = harness.pool.thread("1001")
    assert thread is not None
    assert (thread.agent, thread.owner) == (agent or "demo", "7")
    assert harness.row("1001").session_id != before


async def test_the_line_stands_still_while_the_daemon_drains(make_harness):
    harness = make_harness(max_sessions=1)
    busy = await harness.tool("1001")
    waiting, _ = ask(harness, "1002", "say a")
    harness.pool.draining = True
    await harness.pool.cancel("1001")
    await busy.over.wait()
    await harness.pool.quiet()
    harness.pool.tick()
    assert line(harness) == [("1002", "suspended", 1)]
    harness.pool.draining = False
    harness.pool.tick()
    await waiting.over.wait()
    assert waiting.text == "a"


async def test_a_reload_takes_those_out_of_the_line_who_may_not_use_the_bot_any_more(make_harness):
    async def refuse() -> str:
        return "You no longer have access to this bot here."

    harness = make_harness(max_sessions=1)
    await harness.tool("1001")
    gone, _ = ask(harness, "1002", "say a", lost_access=refuse)
    _, places = ask(harness, "1003", "say b")
    harness.reload(max_queued=5)
    await gone.over.wait()
    assert (gone.end.stop_reason, gone.error) == ("error", "You no longer have access to this bot here.")
    assert line(harness) == [("1003", "suspended", 1)]
    assert places[-1] == Place(0, 1, 1)


def test_a_place_in_words():
    assert place_text(Place(2)) == "Queued, 2 ahead of you."
    assert place_text(Place(1, 3, 5)) == "Queued, 1 ahead of you."
    assert place_text(Place(0, 2, 3)) == "All 3 agents are busy. You're number 2 in line."
    assert place_text(Place(0, 1, 1)) == "My only agent is busy. You're number 1 in line."
    assert place_text(Place(0, 1)) == "You're number 1 in line."
    assert place_text(Place(0, start="Fetching the image, 40%")) == "Fetching the image, 40%."
    assert place_text(Place(2, start="Fetching the image, 40%")) == "Fetching the image, 40%. 2 ahead of you."
