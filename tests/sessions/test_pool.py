"""The pool with real agents: capacity, order, expiry, and ends that are proofs."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from acpbot.errors import Ambiguous, Conflict, Draining, InvalidParams, NotFound, TooMany
from acpbot.sessions.views import Target


def target(harness, thread: str) -> Target:
    return harness.target(thread)


async def kill(harness, thread: str, **options):
    (result,) = await harness.pool.kill([target(harness, thread)], **options)
    return result


def exists(pid: int | None) -> bool:
    return os.path.exists(f"/proc/{pid}")  # noqa: PTH110 - a plain look


async def test_a_turn_streams_and_the_row_shows_it(harness):
    listener = await harness.turn("1001", "say hello there")
    assert listener.text == "hello there"
    assert listener.end.stop_reason == "end_turn"
    row = harness.row("1001")
    assert (row.state, row.alive, row.turns, row.queued, row.platform, row.owner) == ("idle", True, 1, 0, "test", "7")
    assert row.cwd == str(harness.tmp_path / "workspaces" / "1001")
    assert os.stat(row.cwd).st_mode & 0o777 == 0o700  # noqa: PTH116 - a plain look
    assert row.turn_seconds is row.silent_seconds is row.activity is row.waiting_for is None
    harness.clock.move(61)
    assert harness.row("1001").idle_seconds == 61
    assert exists(row.pid)


async def test_two_messages_for_a_new_thread_start_one_agent_and_run_in_order(harness):
    first, second = harness.send("1001", "say one"), harness.send("1001", "say two")
    assert harness.position == 1
    assert len(harness.pool.rows()) == 1
    assert harness.row("1001").state == "starting"
    await second.over.wait()
    assert (first.text, second.text, first.over.is_set()) == ("one", "two", True)


async def test_the_row_of_a_running_turn_shows_its_tool_and_processes(harness):
    await harness.tool("1001")
    harness.clock.move(5)
    row = harness.row("1001")
    assert (row.state, row.turn_seconds, row.idle_seconds) == ("busy", 5, 0)
    assert "sleep 60" in row.activity
    detail = await harness.pool.detail("1001")
    assert [call.title for call in detail.tool_calls] == [row.activity]
    assert any("sleep 60" in process.command for process in detail.process_tree)
    assert detail.process_tree[0].pid == row.pid
    await harness.pool.sample()
    assert harness.row("1001").processes == len(detail.process_tree) >= 2
    assert harness.row("1001").rss_bytes > 1_000_000


async def test_cancel_ends_the_turn_and_its_tool_and_keeps_the_session(harness):
    listener = await harness.tool("1001")
    before = harness.row("1001").session_id
    assert await harness.pool.cancel("1001", before) == "cancelled"
    await listener.over.wait()
    assert listener.end.stop_reason == "cancelled"
    assert harness.row("1001").session_id == before
    assert await harness.pool.cancel("1001") == "idle"
    with pytest.raises(Conflict):
        await harness.pool.cancel("1001", "another")
    with pytest.raises(NotFound):
        await harness.pool.cancel("404")


async def test_a_permission_is_asked_and_answered(harness):
    listener = harness.send("1001", "tool")
    await listener.wants_permission.wait()
    row = harness.row("1001")
    assert row.state == "waiting"
    assert row.waiting_for
    (ask,) = listener.asks
    with pytest.raises(InvalidParams, match="the options are"):
        ask.select("nonsense")
    option = next(option for option in ask.options if option.kind == "allow_once")
    ask.select(option.option_id)
    with pytest.raises(Conflict):
        ask.select(option.option_id)
    await listener.over.wait()
    assert listener.ask_outcomes == ["selected"]
    assert "completed" in listener.statuses
    assert "hello from a real subprocess" in listener.bodies
    assert harness.row("1001").waiting_for is None


async def test_a_permission_that_nobody_answers_in_time_is_rejected(make_harness):
    harness = make_harness(timeout_seconds=0.05)
    listener = await harness.turn("1001", "tool")
    assert listener.ask_outcomes == ["expired"]
    assert listener.asks[0].chosen.kind == "reject_once"


async def test_cancel_answers_an_open_permission_first(harness):
    listener = harness.send("1001", "tool")
    await listener.wants_permission.wait()
    await harness.pool.cancel("1001")
    await listener.over.wait()
    assert (listener.ask_outcomes, listener.end.stop_reason) == (["cancelled"], "cancelled")


@pytest.mark.parametrize(("policy", "ran"), [("allow", True), ("deny", False)])
async def test_a_policy_answers_without_asking(make_harness, policy, ran):
    harness = make_harness(policy=policy)
    listener = await harness.turn("1001", "tool")
    assert listener.asks == []
    assert listener.end.stop_reason == "end_turn"
    assert ("completed" in listener.statuses) is ran
    assert listener.tool_spoke.is_set() is ran


async def test_a_full_pool_evicts_the_longest_idle_and_starts_nothing_when_all_are_busy(make_harness):
    harness = make_harness(max_sessions=2)
    await harness.turn("1001", "say a")
    harness.clock.move(10)
    await harness.turn("1002", "say b")
    await harness.tool("1002")
    third = await harness.turn("1003", "say c")
    assert third.text == "c"
    assert {row.thread_id for row in harness.pool.rows()} == {"1002", "1003"}
    assert harness.events.endings == [("1001", "evicted", True)]
    await harness.tool("1003")
    with pytest.raises(TooMany, match="pool exhausted"):
        harness.pool.ensure("1004", platform="test")
    assert "1004" not in {row.thread_id for row in harness.pool.rows(suspended=True)}


async def test_the_queue_is_bounded_and_a_queued_turn_can_be_withdrawn(make_harness):
    harness = make_harness(max_queued=2)
    await harness.tool("1001")
    harness.send("1001", "say one")
    two = harness.send("1001", "say two")
    assert harness.position == 2
    with pytest.raises(TooMany, match="2 messages are already waiting"):
        harness.send("1001", "say three")
    assert harness.session("1001").turns.withdraw("say two")
    assert two.end.stop_reason == "cancelled"
    assert harness.row("1001").queued == 1


async def test_a_kill_leaves_no_process_and_says_so(harness):
    listener = harness.send("1001", "orphan 300")
    await listener.over.wait()
    listener = await harness.tool("1001")
    pids = [process.pid for process in (await harness.pool.detail("1001")).process_tree]
    assert len(pids) >= 3
    result = await kill(harness, "1001")
    assert (result.outcome, result.processes_left, result.reached) == ("ended", 0, "container")
    assert result.processes_ended == len(pids)
    assert not any(map(exists, pids))
    assert listener.end.stop_reason == "cancelled"
    assert harness.events.endings == [("1001", "killed", True)]
    assert harness.row("1001").state == "suspended"


async def test_a_kill_of_what_ignores_everything_takes_the_grace_and_no_more(make_harness):
    harness = make_harness(grace_seconds=0.4)
    listener = harness.send("1001", "ignore; say up; hang")
    await listener.sees("up")
    await harness.pool.detail("1001")
    result = await kill(harness, "1001")
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert result.reached in {"sigkill", "container"}
    assert 0.3 <= result.seconds < 5


async def test_an_idle_agent_that_obeys_leaves_at_eof(harness):
    await harness.turn("1001", "say a")
    result = await kill(harness, "1001")
    assert (result.reached, result.processes_ended, result.processes_left) == ("eof", 1, 0)


async def test_a_kill_touches_only_the_session_that_it_names(harness):
    await harness.turn("1001", "say a")
    old = target(harness, "1001")
    await kill(harness, "1001")
    assert (await harness.pool.kill([old]))[0].outcome == "already_gone"
    await harness.turn("1001", "say b")
    results = await harness.pool.kill([old, Target(thread_id="404", session_id="x")])
    assert [result.outcome for result in results] == ["conflict", "already_gone"]
    assert harness.row("1001").state == "idle"


async def test_two_kills_at_once_end_it_once(harness):
    await harness.tool("1001")
    one, two = await asyncio.gather(kill(harness, "1001"), kill(harness, "1001"))
    assert (one.outcome, two.outcome, one.processes_left) == ("ended", "ended", 0)
    assert harness.events.endings == [("1001", "killed", True)]


async def test_a_kill_during_the_start_leaves_nothing(make_harness):
    harness = make_harness(argv=("/bin/sh", "-c", "exec sleep 300"))
    listener = harness.send("1001", "say a")
    spawned = asyncio.Event()
    leave = harness.pool.subscribe(lambda _, row: spawned.set() if row.pid is not None else None)
    await spawned.wait()
    leave()
    pid = harness.row("1001").pid
    result = await kill(harness, "1001", grace_seconds=0.2)
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert not exists(pid)
    assert listener.end.stop_reason == "cancelled"


async def test_a_kill_that_forgets_drops_the_conversation(harness):
    await harness.turn("1001", "remember the blue door")
    await kill(harness, "1001", forget=True)
    assert harness.events.endings == [("1001", "killed", False)], "the next message starts a new conversation"
    with pytest.raises(NotFound):
        harness.row("1001")


async def test_a_message_that_comes_while_its_thread_is_forgotten_resumes_nothing(harness):
    await harness.turn("1001", "remember the blue door")
    closing = asyncio.Event()
    leave = harness.pool.subscribe(lambda _, row: closing.set() if row.state == "closing" else None)
    killing = asyncio.create_task(kill(harness, "1001", forget=True))
    await asyncio.wait_for(closing.wait(), 20)
    leave()
    listener = harness.send("1001", "recall")
    assert (await killing).outcome == "ended"
    await asyncio.wait_for(listener.over.wait(), 20)
    assert "the blue door" not in listener.text
    assert harness.events.started_fresh == []


async def test_the_message_after_a_kill_resumes_the_conversation(harness):
    await harness.turn("1001", "remember the blue door")
    before = harness.row("1001")
    await kill(harness, "1001")
    listener = await harness.turn("1001", "recall")
    after = harness.row("1001")
    assert "the blue door" in listener.text
    assert after.acp_session_id == before.acp_session_id
    assert after.session_id != before.session_id


async def test_a_conversation_that_the_agent_has_lost_starts_fresh_and_this_is_reported(harness):
    await harness.turn("1001", "remember the blue door")
    before = harness.row("1001")
    await kill(harness, "1001")
    for history in (harness.tmp_path / "workspaces" / "1001").rglob("*.json"):
        history.unlink()
    listener = await harness.turn("1001", "say hello")
    assert (listener.text, listener.end.stop_reason) == ("hello", "end_turn")
    assert harness.events.started_fresh == ["1001"]
    assert harness.row("1001").acp_session_id != before.acp_session_id


async def test_idle_sessions_expire_into_suspended_threads_and_those_are_forgotten(make_harness):
    harness = make_harness(idle_timeout_seconds=60, session_ttl_hours=1000 / 3600)
    await harness.turn("1001", "say a")
    harness.clock.move(59)
    harness.pool.tick()
    assert harness.row("1001").state == "idle"
    harness.clock.move(1)
    harness.pool.tick()
    assert harness.row("1001").state == "closing"
    await harness.events.ended.wait()
    row = harness.row("1001")
    assert (row.state, row.session_id, row.pid, row.alive, row.resumable) == ("suspended", None, None, False, True)
    assert harness.pool.rows() == []
    assert [row.thread_id for row in harness.pool.rows(suspended=True)] == ["1001"]
    harness.clock.move(1001)
    harness.pool.tick()
    assert harness.pool.rows(suspended=True) == []


async def test_a_crash_is_reported_and_waiting_turns_run_in_a_new_process(harness):
    crash = harness.send("1001", "crash 3")
    after = harness.send("1001", "say still here")
    await after.over.wait()
    assert crash.end.stop_reason == "error"
    assert "ended (exit code 3)" in crash.error
    assert after.text == "still here"
    assert harness.events.endings == [("1001", "crashed", True)]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("/no/such/agent",), "cannot start"),
        (
            ("/bin/sh", "-c", "echo it broke >&2; exit 7"),
            "it ended (exit code 7) before it answered; it wrote: it broke",
        ),
        (("/bin/sleep", "60"), "did not answer initialize within 0.3 s"),
        (
            ("/bin/sh", "-c", 'read x; echo \'{"id":1,"result":{"protocolVersion":9}}\'; sleep 60'),
            "speaks ACP version 9",
        ),
    ],
)
async def test_an_agent_that_does_not_start_is_reported_in_one_line(make_harness, argv, words):
    harness = make_harness(argv=argv, start_timeout_seconds=0.3)
    listener = await harness.turn("1001", "say a")
    assert listener.end.stop_reason == "error"
    assert listener.error.startswith("cannot ")
    assert words in listener.error
    assert "\n" not in listener.error


async def test_a_silent_turn_is_stuck_and_reported_once(make_harness):
    harness = make_harness(stuck_after_seconds=60)
    await harness.tool("1001")
    harness.clock.move(61)
    harness.pool.tick()
    harness.pool.tick()
    assert harness.row("1001").state == "stuck"
    ((thread, activity, seconds),) = harness.events.stuck
    assert (thread, seconds) == ("1001", 61)
    assert "sleep 60" in activity


@pytest.mark.parametrize(("on_stuck", "left"), [("cancel", "idle"), ("kill", "suspended")])
async def test_on_stuck_cancels_the_turn_or_ends_the_session(make_harness, on_stuck, left):
    harness = make_harness(stuck_after_seconds=60, on_stuck=on_stuck)
    listener = await harness.tool("1001")
    harness.clock.move(61)
    harness.pool.tick()
    await listener.over.wait()
    if on_stuck == "kill":
        await harness.events.ended.wait()
    assert (listener.end.stop_reason, harness.row("1001").state) == ("cancelled", left)


async def test_a_turn_over_its_limit_is_cancelled_and_ended_where_it_ignores_that(make_harness):
    harness = make_harness(turn_timeout_seconds=100, grace_seconds=0.2, stuck_after_seconds=1000)
    hung = harness.send("1001", "say up; hang")
    after = harness.send("1001", "say next")
    await hung.sees("up")
    harness.clock.move(101)
    harness.pool.tick()
    assert harness.row("1001").state == "busy"
    harness.clock.move(31)
    harness.pool.tick()
    await after.over.wait()
    assert hung.end.stop_reason in {"cancelled", "error"}
    assert after.text == "next"


async def test_draining_refuses_new_turns(harness):
    harness.pool.draining = True
    with pytest.raises(Draining):
        harness.send("1001", "say a")


async def test_threads_are_found_by_id_or_suffix(harness):
    for thread in ("100012345", "200012345", "300067890"):
        harness.send(thread, "say a")
    assert harness.pool.resolve("100012345") == "100012345"
    assert harness.pool.resolve("7890") == "300067890"
    with pytest.raises(Ambiguous, match="2 end like that"):
        harness.pool.resolve("2345")
    for missing in ("890", "9999", ""):
        with pytest.raises(NotFound):
            harness.pool.resolve(missing)


@pytest.mark.parametrize("thread", ["", "../x", "a/b", "A", "x" * 65, "a b", "ü", "1\n"])
async def test_an_invalid_thread_id_never_becomes_a_path(harness, thread):
    with pytest.raises(InvalidParams):
        harness.send(thread, "say a")
    assert not (harness.tmp_path / "workspaces").exists()


async def test_subscribers_get_changes_and_the_end(harness):
    heard = []
    leave = harness.pool.subscribe(lambda change, row: heard.append((change, row.state)))
    await harness.turn("1001", "say a")
    await kill(harness, "1001")
    leave()
    await harness.turn("1001", "say b")
    states = [state for _, state in heard]
    assert states[0] == "starting"
    assert "busy" in states
    assert heard[-1] == ("gone", "gone")


async def test_the_tail_keeps_recent_lines_and_follows(harness):
    await harness.turn("1001", "say first line")
    followed: list[dict[str, Any]] = []
    recent, leave = harness.pool.tail("1001", followed.append)
    assert [line["text"] for line in recent if line["kind"] == "text"] == ["first line"]
    await harness.turn("1001", "say second line")
    leave()
    await harness.turn("1001", "say third line")
    assert [line["text"] for line in followed if line["kind"] == "text"] == ["second line"]
