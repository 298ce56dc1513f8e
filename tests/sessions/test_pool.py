"""The pool with real agents: capacity, order, expiry, and ends that are proofs."""

from __future__ import annotations

import asyncio
import os

import pytest

from acpbot.errors import Ambiguous, Conflict, Draining, InvalidParams, NotFound, TooMany
from acpbot.sessions.model import Target


def target(house, thread: str) -> Target:
    return Target(thread_id=thread, session_id=house.row(thread).session_id)


async def kill(house, thread: str, **options):
    (result,) = await house.pool.kill([target(house, thread)], **options)
    return result


def exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")  # noqa: PTH110 - a plain look


async def test_a_turn_streams_and_the_row_tells_the_truth(house):
    listener = await house.turn("1001", "say hello there")
    assert listener.text == "hello there"
    assert listener.end.stop_reason == "end_turn"
    row = house.row("1001")
    assert (row.state, row.alive, row.turns, row.queued, row.platform, row.owner) == ("idle", True, 1, 0, "test", "7")
    assert row.cwd == str(house.tmp_path / "workspaces" / "1001")
    assert os.stat(row.cwd).st_mode & 0o777 == 0o700  # noqa: PTH116 - a plain look
    assert row.turn_seconds is row.silent_seconds is row.activity is row.waiting_for is None
    house.clock.move(61)
    assert house.row("1001").idle_seconds == 61
    assert exists(row.pid)


async def test_two_messages_for_a_new_thread_start_one_agent_and_run_in_order(house):
    first, second = house.send("1001", "say one"), house.send("1001", "say two")
    assert house.position == 1
    assert len(house.pool.rows()) == 1
    assert house.row("1001").state == "starting"
    await second.over.wait()
    assert (first.text, second.text, first.over.is_set()) == ("one", "two", True)


async def test_the_row_of_a_running_turn(house):
    await house.tool("1001")
    house.clock.move(5)
    row = house.row("1001")
    assert (row.state, row.turn_seconds, row.idle_seconds) == ("busy", 5, 0)
    assert "sleep 60" in row.activity
    detail = await house.pool.detail("1001")
    assert [call.title for call in detail.tool_calls] == [row.activity]
    assert any("sleep 60" in process.command for process in detail.process_tree)
    assert detail.process_tree[0].pid == row.pid
    await house.pool.sample()
    assert house.row("1001").processes == len(detail.process_tree) >= 2
    assert house.row("1001").rss_bytes > 1_000_000


async def test_cancel_ends_the_turn_keeps_the_session_and_takes_the_tool(house):
    listener = await house.tool("1001")
    before = house.row("1001").session_id
    assert await house.pool.cancel("1001", before) == "cancelled"
    await listener.over.wait()
    assert listener.end.stop_reason == "cancelled"
    assert house.row("1001").session_id == before
    assert await house.pool.cancel("1001") == "idle"
    with pytest.raises(Conflict):
        await house.pool.cancel("1001", "another")
    with pytest.raises(NotFound):
        await house.pool.cancel("404")


async def test_a_permission_is_asked_and_answered(house):
    listener = house.send("1001", "tool")
    await listener.wants_permission.wait()
    row = house.row("1001")
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
    assert house.row("1001").waiting_for is None


async def test_a_permission_runs_out_of_time_as_a_rejection(make_house):
    house = make_house(session={"permission_seconds": 0.05})
    listener = await house.turn("1001", "tool")
    assert listener.ask_outcomes == ["expired"]
    assert listener.asks[0].chosen.kind == "reject_once"


async def test_cancel_answers_an_open_permission_first(house):
    listener = house.send("1001", "tool")
    await listener.wants_permission.wait()
    await house.pool.cancel("1001")
    await listener.over.wait()
    assert (listener.ask_outcomes, listener.end.stop_reason) == (["cancelled"], "cancelled")


@pytest.mark.parametrize(("policy", "ran"), [("allow", True), ("deny", False)])
async def test_a_policy_answers_without_asking(make_house, policy, ran):
    house = make_house(session={"policy": policy})
    listener = await house.turn("1001", "tool")
    assert listener.asks == []
    assert listener.end.stop_reason == "end_turn"
    assert ("completed" in listener.statuses) is ran
    assert listener.tool_spoke.is_set() is ran


async def test_allow_always_is_remembered_for_the_session(house):
    listener = house.send("1001", "tool")
    await listener.wants_permission.wait()
    always = next(option for option in listener.asks[0].options if option.kind == "allow_always")
    listener.asks[0].select(always.option_id)
    await listener.over.wait()
    assert (await house.turn("1001", "tool")).asks == []


async def test_a_full_pool_evicts_the_longest_idle_and_refuses_when_all_are_busy(make_house):
    house = make_house(max_sessions=2)
    await house.turn("1001", "say a")
    house.clock.move(10)
    await house.turn("1002", "say b")
    await house.tool("1002")
    third = await house.turn("1003", "say c")
    assert third.text == "c"
    assert {row.thread_id for row in house.pool.rows()} == {"1002", "1003"}
    assert house.told.endings == [("1001", "evicted", True)]
    await house.tool("1003")
    with pytest.raises(TooMany, match="pool exhausted"):
        house.send("1004", "say d")
    assert "1004" not in {row.thread_id for row in house.pool.rows(suspended=True)}


async def test_the_queue_is_bounded_and_can_be_taken_back_from(make_house):
    house = make_house(session={"max_queued": 2})
    await house.tool("1001")
    house.send("1001", "say one")
    two = house.send("1001", "say two")
    assert house.position == 2
    with pytest.raises(TooMany, match="2 messages already wait"):
        house.send("1001", "say three")
    assert house.pool.get("1001").withdraw("say two")
    assert two.end.stop_reason == "cancelled"
    assert house.row("1001").queued == 1


async def test_a_kill_is_a_proof(house):
    listener = house.send("1001", "orphan 300")
    await listener.over.wait()
    listener = await house.tool("1001")
    pids = [process.pid for process in (await house.pool.detail("1001")).process_tree]
    assert len(pids) >= 3
    result = await kill(house, "1001")
    assert (result.outcome, result.processes_left, result.reached) == ("ended", 0, "container")
    assert result.processes_ended == len(pids)
    assert not any(map(exists, pids))
    assert listener.end.stop_reason == "cancelled"
    assert house.told.endings == [("1001", "killed", True)]
    assert house.row("1001").state == "suspended"


async def test_a_kill_of_what_ignores_everything_takes_the_grace_and_no_more(make_house):
    house = make_house(session={"grace_seconds": 0.4})
    listener = house.send("1001", "ignore; say up; hang")
    await listener.sees("up")
    await house.pool.detail("1001")
    result = await kill(house, "1001")
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert result.reached in {"sigkill", "container"}
    assert 0.3 <= result.seconds < 5


async def test_an_idle_agent_that_obeys_leaves_at_eof(house):
    await house.turn("1001", "say a")
    result = await kill(house, "1001")
    assert (result.reached, result.processes_ended, result.processes_left) == ("eof", 1, 0)


async def test_kill_compares_before_it_kills(house):
    await house.turn("1001", "say a")
    old = target(house, "1001")
    await kill(house, "1001")
    assert (await house.pool.kill([old]))[0].outcome == "already_gone"
    await house.turn("1001", "say b")
    results = await house.pool.kill([old, Target(thread_id="404", session_id="x")])
    assert [result.outcome for result in results] == ["conflict", "already_gone"]
    assert house.row("1001").state == "idle"


async def test_two_kills_at_once_end_it_once(house):
    await house.tool("1001")
    one, two = await asyncio.gather(kill(house, "1001"), kill(house, "1001"))
    assert (one.outcome, two.outcome, one.processes_left) == ("ended", "ended", 0)
    assert house.told.endings == [("1001", "killed", True)]


async def test_a_kill_during_the_start_leaves_nothing(make_house):
    house = make_house(argv=("/bin/sh", "-c", "exec sleep 300"))
    listener = house.send("1001", "say a")
    spawned = asyncio.Event()
    leave = house.pool.subscribe(lambda _, row: spawned.set() if row.pid is not None else None)
    await spawned.wait()
    leave()
    pid = house.row("1001").pid
    result = await kill(house, "1001", grace_seconds=0.2)
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert not exists(pid)
    assert listener.end.stop_reason == "cancelled"


async def test_forget_drops_what_a_resume_needs(house):
    await house.turn("1001", "remember the blue door")
    await kill(house, "1001", forget=True)
    assert house.told.endings == [("1001", "killed", False)], "the next message starts a new conversation"
    with pytest.raises(NotFound):
        house.row("1001")


async def test_a_message_that_comes_while_its_thread_is_forgotten_picks_nothing_up(house):
    await house.turn("1001", "remember the blue door")
    closing = asyncio.Event()
    leave = house.pool.subscribe(lambda _, row: closing.set() if row.state == "closing" else None)
    killing = asyncio.create_task(kill(house, "1001", forget=True))
    await asyncio.wait_for(closing.wait(), 20)
    leave()
    listener = house.send("1001", "recall")
    assert (await killing).outcome == "ended"
    await asyncio.wait_for(listener.over.wait(), 20)
    assert "the blue door" not in listener.text
    assert house.told.afresh == []


async def test_the_next_message_picks_the_conversation_up(house):
    await house.turn("1001", "remember the blue door")
    before = house.row("1001")
    await kill(house, "1001")
    listener = await house.turn("1001", "recall")
    after = house.row("1001")
    assert "the blue door" in listener.text
    assert after.acp_session_id == before.acp_session_id
    assert after.session_id != before.session_id


async def test_a_conversation_that_the_agent_has_lost_starts_afresh_and_says_so(house):
    await house.turn("1001", "remember the blue door")
    before = house.row("1001")
    await kill(house, "1001")
    for history in (house.tmp_path / "workspaces" / "1001").rglob("*.json"):
        history.unlink()
    listener = await house.turn("1001", "say hello")
    assert (listener.text, listener.end.stop_reason) == ("hello", "end_turn")
    assert house.told.afresh == ["1001"]
    assert house.row("1001").acp_session_id != before.acp_session_id


async def test_idle_sessions_expire_into_suspended_threads_and_those_are_forgotten(make_house):
    house = make_house(idle_seconds=60, ttl_seconds=1000)
    await house.turn("1001", "say a")
    house.clock.move(59)
    house.pool.tick()
    assert house.row("1001").state == "idle"
    house.clock.move(1)
    house.pool.tick()
    assert house.row("1001").state == "closing"
    await house.told.ended.wait()
    row = house.row("1001")
    assert (row.state, row.session_id, row.pid, row.alive, row.resumable) == ("suspended", None, None, False, True)
    assert house.pool.rows() == []
    assert [row.thread_id for row in house.pool.rows(suspended=True)] == ["1001"]
    house.clock.move(1001)
    house.pool.tick()
    assert house.pool.rows(suspended=True) == []


async def test_a_crash_is_told_and_waiting_turns_run_in_a_new_process(house):
    crash = house.send("1001", "crash 3")
    after = house.send("1001", "say still here")
    await after.over.wait()
    assert crash.end.stop_reason == "error"
    assert "ended (exit code 3)" in crash.end.error
    assert after.text == "still here"
    assert house.told.endings == [("1001", "crashed", True)]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("/no/such/agent",), "cannot start"),
        (
            ("/bin/sh", "-c", "echo it broke >&2; exit 7"),
            "it ended (exit code 7) before it answered; its last words: it broke",
        ),
        (("/bin/sleep", "60"), "did not answer initialize within 0.3 s"),
        (
            ("/bin/sh", "-c", 'read x; echo \'{"id":1,"result":{"protocolVersion":9}}\'; sleep 60'),
            "speaks ACP version 9",
        ),
    ],
)
async def test_an_agent_that_does_not_start_is_one_clear_line(make_house, argv, words):
    house = make_house(argv=argv, start_timeout=0.3)
    listener = await house.turn("1001", "say a")
    assert listener.end.stop_reason == "error"
    assert listener.end.error.startswith("cannot ")
    assert words in listener.end.error
    assert "\n" not in listener.end.error


async def test_silence_makes_stuck_and_words_make_busy_again(make_house):
    house = make_house(session={"stuck_after_seconds": 60})
    await house.tool("1001")
    house.clock.move(61)
    house.pool.tick()
    house.pool.tick()
    assert house.row("1001").state == "stuck"
    ((thread, activity, seconds),) = house.told.stuck
    assert (thread, seconds) == ("1001", 61)
    assert "sleep 60" in activity


@pytest.mark.parametrize(("on_stuck", "left"), [("cancel", "idle"), ("kill", "suspended")])
async def test_on_stuck_acts(make_house, on_stuck, left):
    house = make_house(session={"stuck_after_seconds": 60}, on_stuck=on_stuck)
    listener = await house.tool("1001")
    house.clock.move(61)
    house.pool.tick()
    await listener.over.wait()
    if on_stuck == "kill":
        await house.told.ended.wait()
    assert (listener.end.stop_reason, house.row("1001").state) == ("cancelled", left)


async def test_a_turn_has_a_ceiling_and_one_that_ignores_the_cancel_is_replaced(make_house):
    house = make_house(turn_timeout_seconds=100, session={"grace_seconds": 0.2, "stuck_after_seconds": 1000})
    hung = house.send("1001", "say up; hang")
    after = house.send("1001", "say next")
    await hung.sees("up")
    house.clock.move(101)
    house.pool.tick()
    assert house.row("1001").state == "busy"
    house.clock.move(31)
    house.pool.tick()
    await after.over.wait()
    assert hung.end.stop_reason in {"cancelled", "error"}
    assert after.text == "next"


async def test_draining_refuses_new_turns(house):
    house.pool.draining = True
    with pytest.raises(Draining):
        house.send("1001", "say a")


async def test_threads_are_found_by_id_or_suffix(house):
    for thread in ("100012345", "200012345", "300067890"):
        house.send(thread, "say a")
    assert house.pool.resolve("100012345") == "100012345"
    assert house.pool.resolve("7890") == "300067890"
    with pytest.raises(Ambiguous, match="2 end so"):
        house.pool.resolve("2345")
    for missing in ("890", "9999", ""):
        with pytest.raises(NotFound):
            house.pool.resolve(missing)


@pytest.mark.parametrize("thread", ["", "../x", "a/b", "A", "x" * 65, "a b", "ü", "1\n"])
async def test_what_is_no_thread_id_never_becomes_a_path(house, thread):
    with pytest.raises(InvalidParams):
        house.send(thread, "say a")
    assert not (house.tmp_path / "workspaces").exists()


async def test_subscribers_hear_of_changes_and_of_the_end(house):
    heard = []
    leave = house.pool.subscribe(lambda change, row: heard.append((change, row.state)))
    await house.turn("1001", "say a")
    await kill(house, "1001")
    leave()
    await house.turn("1001", "say b")
    states = [state for _, state in heard]
    assert states[0] == "starting"
    assert "busy" in states
    assert heard[-1] == ("gone", "gone")


async def test_the_tail_keeps_recent_lines_and_follows(house):
    await house.turn("1001", "say first line")
    followed = []
    recent, leave = house.pool.tail("1001", followed.append)
    assert [line["text"] for line in recent if line["kind"] == "text"] == ["first line"]
    await house.turn("1001", "say second line")
    leave()
    await house.turn("1001", "say third line")
    assert [line["text"] for line in followed if line["kind"] == "text"] == ["second line"]
