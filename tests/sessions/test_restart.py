"""What a pool restores after a restart: threads, turns that wait, processes; and what it forgets for good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from typing import Any

import msgspec
import pytest

from acpbot.chat.conversation import INTERRUPTED, UNREADABLE
from acpbot.chat.local import LocalChat
from acpbot.chat.platform import IncomingMessage
from acpbot.errors import Conflict, NotFound, TooMany
from acpbot.sessions.turn import Turn
from acpbot.sessions.views import Target
from acpbot.storage.records import TurnRecord
from tests.sessions.test_pool import kill
from tests.support.pool import Clock, Listener, ThreadEvents
from tests.support.pool_restarts import Events, rows, started

SAME = ("thread_id", "platform", "agent", "cwd", "title", "owner", "created_at", "turns", "acp_session_id", "resumable")


def queue(harness, thread: str, text: str, message: bytes | None = b"{}") -> tuple[Turn, Listener]:
    listener = Listener()
    turn = Turn([{"type": "text", "text": text}], listener, text=text, key=text, message=message)
    harness.pool.submit(thread, turn, platform="test", owner="7")
    return turn, listener


async def test_a_thread_is_restored_and_its_next_message_resumes_it(tmp_path):
    async with started(tmp_path) as first:
        await first.turn("1001", "remember the blue door")
        await first.session("1001").choose("model", "shout")
        before = first.row("1001")
        left = await first.killed()
    async with started(tmp_path, left) as second:
        assert second.pool.rows() == []
        (row,) = second.pool.rows(suspended=True)
        assert (row.state, row.session_id, row.alive) == ("suspended", None, False)
        assert {name: getattr(row, name) for name in SAME} == {name: getattr(before, name) for name in SAME}
        assert second.pool.resolve("1001") == "1001"
        assert second.pool.counts().suspended == 1
        recalled = await second.turn("1001", "recall")
        assert "THE BLUE DOOR" in recalled.text.upper()
        assert second.events.started_fresh == []
        assert second.row("1001").session_id not in (None, before.session_id)
        choices = second.session("1001").options.choices("model")
        assert [choice.value for choice in choices if choice.current] == ["shout"]


async def test_a_failed_resume_keeps_the_old_id(tmp_path):
    async with started(tmp_path) as first:
        await first.turn("1001", "remember the blue door")
        acp_session_id = first.row("1001").acp_session_id
        left = await first.killed()
    async with started(tmp_path, left, argv=("/no/such/agent",)) as second:
        failed = await second.turn("1001", "recall")
        assert failed.end.stop_reason == "error"
        assert second.row("1001").acp_session_id == acp_session_id
        left = await second.killed()
    assert rows(left, "threads")[0]["acp_session_id"] == acp_session_id


async def test_a_slow_resume_holds_up_no_other_thread(tmp_path):
    async with started(tmp_path) as first:
        await first.turn("1001", "say a")
        left = await first.killed()
    argv = ("/bin/sh", "-c", 'case $PWD in */1001) exec sleep 60;; *) exec "$0" "$@";; esac')
    async with started(tmp_path, left) as second:
        demo = second.agent_argv
    async with started(tmp_path, left, argv=(*argv, *demo)) as second:
        slow = second.send("1001", "recall")
        quick = await second.turn("1002", "say b")
        assert (quick.text, slow.over.is_set()) == ("b", False)
        assert second.row("1001").state == "starting"


async def test_running_and_queued_turns_and_the_process_are_on_disk(tmp_path):
    async with started(tmp_path) as harness:
        turn, running = queue(harness, "1001", "sleep 60", b"one")
        await asyncio.wait_for(running.running.wait(), 20)
        waits, _ = queue(harness, "1001", "say b", b"two")
        session = harness.session("1001")
        left = await harness.killed()
        names = ("turn_id", "thread_id", "platform", "state", "message")
        found = [tuple(row[name] for name in names) for row in rows(left, "turns")]
        assert found == [
            (turn.turn_id, "1001", "test", "running", b"one"),
            (waits.turn_id, "1001", "test", "queued", b"two"),
        ]
        (place,) = rows(left, "places")
        assert (place["session_id"], place["runtime"], place["thread_id"]) == (session.session_id, "local", "1001")
        assert json.loads(place["ref"])["pid"] == session.row().pid
        harness.pool.store.turn_settled(turn.turn_id)
        await harness.pool.kill([Target(thread_id="1001", session_id=session.session_id)])
        left = await harness.killed()
    assert rows(left, "places") == []


async def test_a_stop_defers_queued_turns_and_ends_the_running_one(tmp_path):
    async with started(tmp_path) as harness:
        _, running = queue(harness, "1001", "sleep 60", b"one")
        await asyncio.wait_for(running.running.wait(), 20)
        waits, waiting = queue(harness, "1001", "say b", b"two")
        _, passing = queue(harness, "1001", "say c", None)
    assert running.end.stop_reason == "cancelled"
    assert waiting.end.stop_reason == "kept"
    assert passing.end.stop_reason == "error"
    kept = [row for row in rows(harness.path, "turns") if row["state"] == "queued"]
    assert [(row["turn_id"], row["message"]) for row in kept] == [(waits.turn_id, b"two")]


async def test_a_turn_that_ends_with_its_session_ends_in_the_same_step_of_the_loop(tmp_path):
    """Else a crash between the two would leave no more than that it was cancelled."""
    later: list[bool] = []
    seen: list[bool] = []

    class Running(Listener):
        def on_ended(self, end) -> None:
            super().on_ended(end)
            asyncio.get_running_loop().call_soon(later.append, True)

    class Chat(ThreadEvents):
        def session_ended(self, *args: Any, **more: Any) -> None:
            super().session_ended(*args, **more)
            seen.append(bool(later))

    async with started(tmp_path) as harness:
        harness.pool.attach("test", Chat())
        running = Running()
        turn = Turn([{"type": "text", "text": "sleep 60"}], running, text="sleep 60", message=b"{}")
        harness.pool.submit("1001", turn, platform="test")
        await asyncio.wait_for(running.running.wait(), 20)
    assert running.end.stop_reason == "cancelled", "the agent has obeyed before its end"
    assert seen == [False]


async def test_a_prompt_is_sent_only_once_its_turn_is_marked_as_running_on_disk(tmp_path):
    async with started(tmp_path) as harness:
        await harness.turn("1001", "say a")
        states = []
        listener = Listener()

        def fit(blocks, _capabilities):
            states.append(rows(harness.path, "turns")[0]["state"])
            return blocks

        turn = Turn([{"type": "text", "text": "say b"}], listener, text="say b", message=b"{}", fit=fit)
        harness.pool.submit("1001", turn, platform="test")
        await asyncio.wait_for(listener.over.wait(), 20)
        assert states == ["running"]


async def test_a_turn_that_is_cancelled_before_it_is_sent_is_never_sent(tmp_path):
    about_to_start = asyncio.Event()

    async def check() -> None:
        about_to_start.set()

    async with started(tmp_path) as harness:
        await harness.turn("1001", "say a")
        await harness.store.durable()
        listener = Listener()
        turn = Turn([{"type": "text", "text": "say b"}], listener, text="say b", message=b"{}", check=check)
        with contextlib.closing(sqlite3.connect(harness.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # so that the turn waits until it is on disk
            harness.pool.submit("1001", turn, platform="test")
            await asyncio.wait_for(about_to_start.wait(), 20)
            session = harness.session("1001")
            assert (session.turns.turn, turn.prompt_id) == (turn, None)
            assert session.turns.cancel()
            other.execute("ROLLBACK")
        await asyncio.wait_for(listener.over.wait(), 20)
        assert (listener.text, listener.end.stop_reason, listener.kinds) == ("", "cancelled", [])
        after = await harness.turn("1001", "say c")
        assert after.text == "c"


async def test_a_forgotten_thread_is_not_restored(tmp_path):
    async with started(tmp_path) as harness:
        await harness.turn("1001", "say a")
        await harness.pool.kill([harness.target("1001")], forget=True)
        left = await harness.killed()
    assert rows(left, "threads") == []


async def test_the_time_to_live_goes_on_over_a_restart(tmp_path):
    async with started(tmp_path, session_ttl_hours=1000 / 3600) as first:
        first.clock.move(5000)
        await first.turn("1001", "say a")
        left = await first.killed()
    for moment, there in ((5999, ["1001"]), (6001, [])):
        async with started(tmp_path, left, session_ttl_hours=1000 / 3600) as harness:
            harness.clock.now = 1000.0 + moment
            harness.pool.tick()
            assert [row.thread_id for row in harness.pool.rows(suspended=True)] == there
            assert (tmp_path / "workspaces" / "1001").is_dir(), "a workspace is kept by default"
    assert rows(left, "threads") == []


async def test_a_wall_clock_that_is_set_makes_no_thread_too_old(tmp_path):
    wall = Clock()
    async with started(tmp_path, session_ttl_hours=10_000 / 3600, wall=wall) as harness:
        await harness.turn("1001", "say a")
        await harness.pool.kill([harness.target("1001")])
        harness.pool.tick()
        wall.move(50 * 365 * 86_400)
        harness.pool.tick()
        assert harness.row("1001").state == "suspended"
        left = await harness.killed()
        assert rows(left, "threads")[0]["used_at"] == wall.now
        assert rows(left, "threads")[0]["title"] == "say a"
        for moved in (9_999, 1):
            wall.move(moved)
            harness.clock.move(moved)
            harness.pool.tick()
        assert harness.pool.rows(suspended=True) == []


async def test_a_thread_grows_old_while_the_machine_sleeps(tmp_path):
    wall, boottime = Clock(), Clock()
    async with started(tmp_path, session_ttl_hours=10_000 / 3600, wall=wall, boottime=boottime) as harness:
        await harness.turn("1001", "say a")
        await harness.pool.kill([harness.target("1001")])
        harness.pool.tick()
        for asleep in (9_999, 2):
            assert harness.row("1001").state == "suspended"
            wall.move(asleep)
            boottime.move(asleep)
            harness.pool.tick()
        assert harness.pool.rows(suspended=True) == []


@pytest.mark.parametrize("trick", ["", "link", "link within", "elsewhere"])
async def test_a_forgotten_threads_own_folder_is_removed_where_that_is_configured_and_nothing_else(tmp_path, trick):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "work").write_text("years of it")
    async with started(tmp_path, session_ttl_hours=1000 / 3600, remove_workspace=True) as harness:
        await harness.turn("1001", "say a")
        await harness.turn("1002", "say a")
        folder = tmp_path / "workspaces" / "1001"
        match trick:
            case "link":
                folder.rename(tmp_path / "moved")
                folder.symlink_to(precious)
            case "link within":
                (folder / "link").symlink_to(precious)
            case "elsewhere":
                agent = msgspec.structs.replace(harness.settings.agents["demo"], working_dir=precious)
                harness.pool.reconfigure(msgspec.structs.replace(harness.settings, agents={"demo": agent}))
        for name in ("1001", "1002"):
            await harness.pool.kill([harness.target(name)])
        harness.clock.move(500)
        await harness.turn("1002", "say b")
        harness.clock.move(501)
        harness.pool.tick()
        await harness.pool.close(grace_seconds=0.5)
        assert (folder.exists() or folder.is_symlink()) == (trick in {"link", "elsewhere"})
        assert (tmp_path / "workspaces" / "1002").is_dir(), "its thread is still there"
    assert (precious / "work").read_text() == "years of it"


async def test_a_thread_reads_once_that_its_folder_will_be_deleted_and_before_it_is(tmp_path, caplog):
    folder = tmp_path / "workspaces" / "1001"
    async with started(tmp_path, session_ttl_hours=1000 / 3600, remove_workspace=True) as harness:
        assert "workspaces_are_removed" in caplog.messages
        for text in ("say a", "say b"):
            await harness.turn("1001", text)
            assert (await kill(harness, "1001")).outcome == "ended"
        assert harness.events.removals == [("1001", str(folder), 1000)]
        left = await harness.killed()
        harness.clock.move(999)
        harness.pool.tick()
        assert folder.is_dir()
    async with started(tmp_path, left, session_ttl_hours=1000 / 3600, remove_workspace=True) as harness:
        harness.clock.move(1000)
        harness.pool.tick()
        assert (harness.events.removals, harness.pool.rows(suspended=True)) == ([], [])
        await harness.pool.close()
    assert not folder.exists()


async def test_a_thread_from_before_the_setting_keeps_its_folder_for_a_while_after_it_reads_of_the_deletion(tmp_path):
    folder = tmp_path / "workspaces" / "1001"
    async with started(tmp_path) as harness:
        await harness.turn("1001", "say a")
        left = await harness.killed()
    async with started(tmp_path, left, session_ttl_hours=1000 / 3600, remove_workspace=True) as harness:
        harness.clock.move(5000)
        harness.pool.tick()
        assert harness.events.removals == [("1001", str(folder), 1000)]
        harness.clock.move(999)
        harness.pool.tick()
        assert [row.thread_id for row in harness.pool.rows(suspended=True)] == ["1001"]
        assert folder.is_dir()
        harness.clock.move(1)
        harness.pool.tick()
        await harness.pool.close()
    assert not folder.exists()


@pytest.mark.parametrize("keys", [{}, {"remove_workspace": True, "workspace_mode": "shared"}])
async def test_nobody_reads_of_a_deletion_that_will_not_happen(tmp_path, keys):
    async with started(tmp_path, session_ttl_hours=1000 / 3600, **keys) as harness:
        await harness.turn("1001", "say a")
        await kill(harness, "1001")
        harness.clock.move(1000)
        harness.pool.tick()
        assert (harness.events.removals, harness.pool.rows(suspended=True)) == ([], [])
        await harness.pool.close()
    assert list((tmp_path / "workspaces").iterdir())


async def test_a_kill_that_forgets_and_an_operators_forget_remove_the_folder_and_a_new_conversation_keeps_it(tmp_path):
    async with started(tmp_path, remove_workspace=True) as harness:
        for thread in ("1001", "1002", "1003", "1004"):
            await harness.turn(thread, "say a")
        assert harness.events.removals == [], "there is nothing to announce"
        await kill(harness, "1001", forget=True)
        await kill(harness, "1002")
        harness.pool.ender.forget_suspended("1002")
        await kill(harness, "1003")
        assert harness.pool.forget("1003")
        await harness.pool.start_over("1004")
        await harness.pool.close()
    assert sorted(path.name for path in (tmp_path / "workspaces").iterdir()) == ["1003", "1004"]


async def test_forget_takes_a_suspended_thread_only_and_without_the_key_keeps_its_folder(tmp_path):
    async with started(tmp_path) as harness:
        await harness.turn("1001", "say a")
        with pytest.raises(Conflict, match="cannot forget 1001: it has a session"):
            harness.pool.ender.forget_suspended("1001")
        with pytest.raises(NotFound):
            harness.pool.ender.forget_suspended("1002")
        await kill(harness, "1001")
        harness.pool.ender.forget_suspended("1001")
        assert harness.pool.rows(suspended=True) == []
        await harness.pool.close()
    assert [path.name for path in (tmp_path / "workspaces").iterdir()] == ["1001"]


async def test_a_restart_cancels_the_running_turn_and_keeps_those_that_wait_for_the_next_session(tmp_path):
    async with started(tmp_path) as harness:
        running = harness.send("1001", "sleep 60")
        await running.running.wait()
        waiting = harness.send("1001", "say later")
        first = harness.session("1001").session_id
        assert (await harness.pool.ender.restart(Target(thread_id="1001", session_id="s-other"))).outcome == "conflict"
        assert (await harness.pool.ender.restart(Target(thread_id="1001", session_id=first))).outcome == "ended"
        assert running.end.stop_reason == "cancelled"
        await waiting.over.wait()
        assert (waiting.end.stop_reason, waiting.text) == ("end_turn", "later")
        assert harness.session("1001").session_id != first
        assert (await harness.pool.ender.restart(Target(thread_id="1001", session_id=first))).outcome == "conflict"
        await harness.pool.close()


async def test_the_terminal_reads_what_a_restart_interrupted_and_queued_turns_run(tmp_path):
    events = Events()
    async with started(tmp_path) as first:
        chat = LocalChat(first.pool)
        await chat.open("demo", None, "ada", events.take)
        for text in ("remember the blue door", "sleep 60", "say b", "recall"):
            await chat.send("demo", text, "ada")
        await events.until(lambda _: len(events.of("turn_start")) == 2)
        left = await first.killed()
    ends = [event["stop_reason"] for event in events.of("turn_end")]
    assert ends == ["end_turn", "cancelled", "kept", "kept"], "the first pool went on, and stopped in order"

    events = Events()
    async with started(tmp_path, left) as second:
        chat = LocalChat(second.pool)
        chat.recover()
        row = await chat.open("demo", None, "ada", events.take)
        assert (row.owner, row.title) == ("ada", "remember the blue door")
        await events.until(lambda _: len(events.of("turn_end")) == 2)
        ends = [event["text"] for event in events.of("turn_end")]
        assert ends[0] == "b"
        assert "the blue door" in ends[1]
        (notice,) = events.of("notice")
        assert notice["text"] == f"{INTERRUPTED} Send a message to carry on where you left off."
        left = await second.killed()
    assert rows(left, "turns") == []


async def test_an_answer_that_nobody_followed_is_shown_to_who_opens_the_thread(tmp_path):
    async with started(tmp_path) as first:
        incoming = IncomingMessage(thread_id="demo", text="say b", owner="ada")
        first.store.turn_queued(TurnRecord("a1", "demo", "local", "queued", msgspec.json.encode(incoming)))
        left = await first.killed()
    async with started(tmp_path, left) as second:
        chat = LocalChat(second.pool)
        over = asyncio.Event()
        leave = second.pool.subscribe(lambda _, row: over.set() if row.turns == 1 else None)
        chat.recover()
        await asyncio.wait_for(over.wait(), 20)
        leave()
        for seen in (1, 0):
            events = Events()
            await chat.open("demo", None, "ada", events.take)
            assert [event["prompt"] for event in events.of("turn_start")] == ["say b"] * seen
            assert [event["text"] for event in events.of("turn_end")] == ["b"] * seen
            chat.leave("demo", events.take)


async def test_a_stored_message_that_can_t_be_decoded_stops_no_other(tmp_path):
    async with started(tmp_path) as first:
        incoming = IncomingMessage(thread_id="demo", text="say b", owner="ada")
        for turn_id, message in (("a1", b'{"text": 1}'), ("a2", b"\xff"), ("a3", msgspec.json.encode(incoming))):
            first.store.turn_queued(TurnRecord(turn_id, "demo", "local", "queued", message))
        left = await first.killed()
    events = Events()
    async with started(tmp_path, left) as second:
        chat = LocalChat(second.pool)
        await chat.open("demo", None, "ada", events.take)
        chat.recover()
        await events.until(lambda _: len(events.of("turn_end")) == 1)
        assert [event["text"] for event in events.of("notice")] == [UNREADABLE, UNREADABLE]
        left = await second.killed()
    assert rows(left, "turns") == []


async def test_a_turn_that_was_accepted_is_not_refused_by_a_shorter_queue_after_a_restart(tmp_path):
    async with started(tmp_path) as first:
        for number in range(4):
            incoming = IncomingMessage(thread_id="demo", text=f"say {number}", owner="ada")
            record = TurnRecord(f"a{number}", "demo", "local", "queued", msgspec.json.encode(incoming))
            first.store.turn_queued(record)
        left = await first.killed()
    events = Events()
    async with started(tmp_path, left, max_queued=1) as second:
        chat = LocalChat(second.pool)
        chat.recover()
        await chat.open("demo", None, "ada", events.take)
        with pytest.raises(TooMany):
            await chat.send("demo", "say no", "ada")
        await events.until(lambda _: len(events.of("turn_end")) == 4)
        assert [event["text"] for event in events.of("turn_end")] == ["0", "1", "2", "3"]


async def test_a_stored_turn_that_can_t_run_any_more_is_reported(tmp_path):
    async with started(tmp_path) as first:
        incoming = IncomingMessage(thread_id="demo", text="say b", owner="ada", agent="gone")
        record = TurnRecord("a1", "demo", "local", "queued", msgspec.json.encode(incoming))
        first.store.turn_queued(record)
        left = await first.killed()
    events = Events()
    async with started(tmp_path, left) as second:
        chat = LocalChat(second.pool)
        chat.recover()
        await chat.open("demo", None, "ada", events.take)
        (notice,) = events.of("notice")
        assert notice["text"].startswith("cannot use agent 'gone': the agents are demo")
        left = await second.killed()
    assert rows(left, "turns") == []
