"""Sessions that are suspended on demand: the process ends, the conversation stays."""

from __future__ import annotations

from tests.sessions.test_pool import exists


async def test_a_suspended_session_has_no_process_and_its_next_message_continues_the_conversation(harness):
    await harness.turn("1001", "remember the blue door")
    before = harness.row("1001")
    result = await harness.pool.suspend("1001", before.session_id)
    assert (result.outcome, result.processes_left, result.resumable) == ("ended", 0, True)
    assert not exists(before.pid)
    assert (harness.row("1001").state, harness.row("1001").acp_session_id) == ("suspended", before.acp_session_id)
    assert harness.events.endings == [("1001", "suspended", True)]
    assert "the blue door" in (await harness.turn("1001", "recall")).text


async def test_the_row_of_a_suspended_thread_says_for_how_long_it_was_not_used(make_harness):
    now = [1000.0]
    harness = make_harness(wall=lambda: now[0])
    await harness.turn("1001", "say a")
    await harness.pool.suspend("1001", harness.row("1001").session_id)
    now[0] += 90.0
    assert harness.row("1001").idle_seconds == 90.0
    now[0] -= 500.0
    assert harness.row("1001").idle_seconds == 0.0


async def test_a_suspend_ends_the_running_turn_and_those_that_wait(harness):
    running, waiting = await harness.tool("1001"), harness.send("1001", "say next")
    result = await harness.pool.suspend("1001", harness.row("1001").session_id)
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert (running.end.stop_reason, waiting.end.stop_reason) == ("cancelled", "cancelled")
    assert harness.row("1001").state == "suspended"


async def test_a_suspend_of_another_session_than_the_thread_has_now_touches_nothing(harness):
    await harness.turn("1001", "say a")
    assert (await harness.pool.suspend("1001", "another")).outcome == "conflict"
    assert (await harness.pool.suspend("404", "another")).outcome == "already_gone"
    assert harness.row("1001").state == "idle"
