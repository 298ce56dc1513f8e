"""How many sessions and waiting turns one person may have, and whom that does not concern."""

from __future__ import annotations

import pytest

from acpbot.errors import TooMany
from acpbot.sessions.turn import Turn
from tests.support.pool import Listener


def states(harness) -> dict[str, str]:
    return {row.thread_id: row.state for row in harness.pool.rows(suspended=True)}


async def test_a_person_at_the_limit_gets_a_place_from_the_own_session_that_is_idle_longest(make_harness):
    harness = make_harness(max_sessions_per_user=2)
    await harness.turn("2001", "say b", asker="8")  # idle for longer, and another person's
    for thread in ("1001", "1002"):
        harness.clock.move(1)
        await harness.turn(thread, "say a")
    await harness.turn("1003", "say a")
    await harness.pool.close()
    assert ("1001", "evicted", True) in harness.events.endings
    assert [thread for thread, reason, _ in harness.events.endings if reason == "evicted"] == ["1001"]


async def test_a_person_all_of_whose_sessions_are_busy_is_refused_and_told_how_many_there_are(make_harness):
    harness = make_harness(max_sessions_per_user=2)
    await harness.tool("1001")
    await harness.tool("1002")
    with pytest.raises(
        TooMany, match=r"^cannot start: user 7 has 2 busy sessions, and .*max_sessions_per_user"
    ) as told:
        harness.send("1003", "say a")
    assert (told.value.limit, told.value.count, told.value.person) == ("sessions_of_person", 2, "7")
    assert states(harness) == {"1001": "busy", "1002": "busy"}
    assert (await harness.turn("2001", "say b", asker="8")).text == "b"


async def test_a_person_who_writes_in_another_persons_thread_uses_a_place_of_its_owner(make_harness):
    harness = make_harness(max_sessions_per_user=1)
    await harness.turn("2001", "say a", asker="8")
    await harness.pool.suspend("2001", harness.row("2001").session_id)
    await harness.tool("2002", asker="8")
    with pytest.raises(TooMany) as told:
        harness.send("2001", "say b", asker="7")
    assert told.value.person == "8"
    assert (await harness.turn("1001", "say mine", asker="7")).text == "mine"


async def test_a_refusal_suspends_nothing(make_harness):
    harness = make_harness(max_sessions_per_user=2, max_sessions=3)
    await harness.turn("2001", "say a", asker="8")
    await harness.tool("1001")
    await harness.tool("1002")
    with pytest.raises(TooMany):
        harness.send("1003", "say a")
    assert states(harness)["2001"] == "idle"


async def test_a_closed_session_frees_a_place_of_its_owner(make_harness):
    harness = make_harness(max_sessions_per_user=1)
    await harness.tool("1001")
    with pytest.raises(TooMany):
        harness.send("1002", "say a")
    await harness.pool.suspend("1001", harness.row("1001").session_id)
    assert (await harness.turn("1002", "say a")).text == "a"


async def test_a_person_s_next_session_waits_until_the_last_one_has_ended(faulty_harness):
    harness = faulty_harness("stays", max_sessions_per_user=1, grace_seconds=0.2)
    await harness.turn("1001", "a")
    first = harness.session("1001").process
    second = harness.send("1002", "a")
    await second.running.wait()
    assert not first.alive


async def test_waiting_turns_count_over_all_threads_and_only_for_who_asked(make_harness):
    harness = make_harness(max_queued_per_user=2)
    await harness.tool("1001")
    await harness.tool("1002")
    harness.send("1001", "say one")
    harness.send("1002", "say two")
    with pytest.raises(
        TooMany, match=r"^cannot queue: user 7 has 2 messages waiting, and .*max_queued_per_user"
    ) as told:
        harness.send("1001", "say three")
    assert (told.value.limit, told.value.count, told.value.person) == ("queue_of_person", 2, "7")
    harness.send("1001", "say other", asker="8")
    assert (await harness.turn("1003", "say at once")).text == "at once"


async def test_a_turn_that_an_earlier_daemon_accepted_is_not_refused(make_harness):
    harness = make_harness(max_queued_per_user=1)
    await harness.tool("1001")
    for text in ("one", "two"):
        turn = Turn([{"type": "text", "text": text}], Listener(), text=text, asker="7", recovered=True)
        harness.pool.submit("1001", turn, platform="test", owner="7")
    assert harness.row("1001").queued == 2


async def test_operators_have_no_limit(make_harness):
    harness = make_harness(max_sessions_per_user=1, max_queued_per_user=1)
    harness.pool.attach("test", harness.events, limits_people=False)
    await harness.tool("1001")
    await harness.tool("1002")
    harness.send("1001", "say one")
    harness.send("1001", "say two")
    assert (harness.row("1001").queued, harness.row("1002").state) == (2, "busy")


async def test_a_turn_without_an_asker_and_a_thread_without_an_owner_count_for_nobody(make_harness):
    harness = make_harness(max_sessions_per_user=1, max_queued_per_user=1)
    for thread in ("1001", "1002"):
        for text in ("stall 60", "say one", "say two"):
            harness.pool.submit(thread, Turn([{"type": "text", "text": text}], Listener(), text=text), platform="test")
    assert len(harness.pool.rows()) == 2
