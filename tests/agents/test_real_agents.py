"""Two agents that people use, offline: their own programs, a model server of ours, and everything between."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.agent_stack import LIMIT, running

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(3 * LIMIT)]

ALLOW = ("allow_once",)
REJECT = ("reject_once", "reject_always")


async def test_an_answer_streams_word_by_word(stack, model):
    listener = await stack.turn("1001", "say the quick brown fox, twice: the quick brown fox")
    assert listener.text == "the quick brown fox, twice: the quick brown fox"
    assert listener.end.stop_reason == "end_turn"
    assert listener.kinds.count("agent_message_chunk") == 9
    row = stack.row("1001")
    assert (row.state, row.alive, row.turns, row.resumable) == ("idle", True, 1, True)
    assert row.acp_session_id
    assert model.unknown == []
    assert all(request.body["stream"] for request in model.requests)


async def test_a_permitted_tool_runs(stack):
    listener = stack.send("1001", "run echo hi > file")
    await stack.asked(listener)
    assert stack.row("1001").state == "waiting"
    assert "echo hi > file" in stack.row("1001").waiting_for
    await stack.answer(listener, *ALLOW)
    await stack.over(listener)
    assert listener.end.stop_reason == "end_turn"
    assert listener.text.startswith("The tool said:")
    assert "completed" in listener.statuses
    assert (Path(stack.row("1001").cwd) / "file").read_text() == "hi\n"


async def test_a_refused_tool_does_not_run_and_the_session_goes_on(stack):
    listener = stack.send("1001", "run echo hi > file")
    await stack.answer(listener, *REJECT)
    await stack.over(listener)
    # codex takes a refusal for a wish to stop, and says `cancelled`.
    assert listener.end.stop_reason == ("end_turn" if stack.name == "opencode" else "cancelled")
    assert "completed" not in listener.statuses
    assert not (Path(stack.row("1001").cwd) / "file").exists()
    assert (await stack.turn("1001", "say still here")).text == "still here"


async def test_a_slow_answer_is_cancelled_down_to_the_model(stack, model):
    listener = stack.send("1001", "slow")
    await stack.sees(listener, "Thinking")
    request = await model.asked("slow")
    before = stack.row("1001").session_id
    assert await stack.cancel("1001") == "cancelled"
    await stack.over(listener)
    assert (listener.end.stop_reason, listener.text) == ("cancelled", "Thinking")
    if stack.name == "opencode":  # codex keeps the silent stream open: a minute later it was still there
        await asyncio.wait_for(request.over.wait(), LIMIT)
        assert request.left
    assert (await stack.turn("1001", "say still here")).text == "still here"
    assert stack.row("1001").session_id == before


async def test_a_cancel_while_a_permission_is_open(stack):
    listener = stack.send("1001", "run echo hi > file")
    await stack.asked(listener)
    assert await stack.cancel("1001") == "cancelled"
    await stack.over(listener)
    assert (listener.end.stop_reason, listener.ask_outcomes) == ("cancelled", ["cancelled"])
    assert not (Path(stack.row("1001").cwd) / "file").exists()
    assert (await stack.turn("1001", "say still here")).text == "still here"


async def test_a_cancel_while_a_tool_runs(stack):
    listener, nap = await stack.tool("1001")
    session = stack.row("1001").session_id
    assert running(nap, ACPBOT_SESSION=session)
    assert nap in stack.row("1001").activity
    assert await stack.cancel("1001") == "cancelled"
    await stack.over(listener)
    assert listener.end.stop_reason == "cancelled"
    if stack.name == "opencode":
        assert running(nap) == []
    else:  # codex only stops waiting for it; it is seen, and it goes with the session
        detail = await stack.detail("1001")
        assert any(process.command == nap for process in detail.process_tree)
        assert (detail.state, detail.processes) == ("idle", len(detail.process_tree))
    assert (await stack.turn("1001", "say still here")).text == "still here"
    assert stack.row("1001").session_id == session
    assert (await stack.kill("1001")).processes_left == 0
    assert running(nap) == []


async def test_a_kill_ends_the_running_tool(stack):
    listener, nap = await stack.tool("1001")
    session = stack.row("1001").session_id
    detail = await stack.detail("1001")
    assert any(nap in process.command for process in detail.process_tree)
    result = await stack.kill("1001")
    assert (result.outcome, result.processes_left, result.resumable) == ("ended", 0, True)
    assert result.processes_ended >= len(detail.process_tree)
    assert listener.end.stop_reason == "cancelled"
    assert running(nap) == []
    assert running(ACPBOT_SESSION=session) == []


async def test_a_kill_ends_what_a_tool_left_running(stack):
    nap = stack.nap()
    # It waits for its child to have left the group: codex ends the group once the command is over.
    child = f"setsid sh -c 'echo > up; exec {nap}' >/dev/null 2>&1 </dev/null"
    listener = stack.send("1001", f"run {child} & until [ -e up ]; do :; done; echo left")
    await stack.answer(listener, *ALLOW)
    await stack.over(listener)
    session = stack.row("1001").session_id
    assert running(nap, ACPBOT_SESSION=session), "the test needs one that outlives its turn"
    result = await stack.kill("1001")
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert running(nap) == []
    assert running(ACPBOT_SESSION=session) == []


async def test_a_kill_without_grace(stack):
    _, nap = await stack.tool("1001")
    session = stack.row("1001").session_id
    result = await stack.kill("1001", grace=0)
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert running(nap) == running(ACPBOT_SESSION=session) == []
    assert (await stack.turn("1001", "say back again")).text == "back again"


async def test_the_conversation_continues_after_a_kill(stack):
    await stack.turn("1001", "say the harbour is blue")
    before = stack.row("1001")
    result = await stack.kill("1001")
    assert (result.outcome, result.processes_left, result.resumable) == ("ended", 0, True)
    listener = await stack.turn("1001", "recall")
    assert listener.text == "You told me: the harbour is blue"
    after = stack.row("1001")
    assert after.acp_session_id == before.acp_session_id
    assert after.session_id != before.session_id
    assert after.pid != before.pid


async def test_the_conversation_continues_after_a_crash(stack):
    await stack.turn("1001", "say the harbour is blue")
    before = stack.row("1001")
    os.kill(before.pid, signal.SIGKILL)
    await stack.ended()
    assert running(ACPBOT_SESSION=before.session_id) == []
    assert (await stack.turn("1001", "recall")).text == "You told me: the harbour is blue"
    assert stack.row("1001").acp_session_id == before.acp_session_id


async def test_a_kill_in_the_middle_of_a_turn_keeps_what_was_said_before(stack):
    await stack.turn("1001", "say the harbour is blue")
    before = stack.row("1001").acp_session_id
    await stack.tool("1001")
    assert (await stack.kill("1001")).processes_left == 0
    assert (await stack.turn("1001", "recall")).text == "You told me: the harbour is blue"
    assert stack.row("1001").acp_session_id == before


async def test_a_model_that_refuses_ends_the_turn(stack):
    listener = await stack.turn("1001", "fail 400")
    assert listener.end.stop_reason == "error"
    assert re.match(r"The agent reported an error: .*scripted failure", listener.end.error)
    assert (await stack.turn("1001", "say still here")).text == "still here"


async def test_a_refusal_of_the_model_is_shown_with_its_reason(stack):
    listener = await stack.turn("1001", "fail 400")
    assert "scripted failure" in listener.end.error


async def test_a_connection_that_breaks_ends_the_turn_at_last_or_when_cancelled(stack, model):
    listener = stack.send("1001", "cut")
    await stack.sees(listener, "Half")
    model.release()
    second = await model.asked("cut", times=2)
    await asyncio.wait_for(second.answering.wait(), LIMIT)
    if stack.name == "opencode":
        assert await stack.cancel("1001") == "cancelled"
    else:
        model.release()
    await stack.over(listener)
    assert listener.text.startswith("Half")
    assert (await stack.turn("1001", "say still here")).text == "still here"


async def test_a_model_that_fails_ends_the_turn_at_last_or_when_cancelled(stack, model):
    listener = stack.send("1001", "fail 500")
    await model.asked("fail", times=2)
    if stack.name == "opencode":  # it tries again without end, and without a word
        assert await stack.cancel("1001") == "cancelled"
    await stack.over(listener)
    # Cancelled while it waits to try again, opencode says that it has ended, not that it was cancelled.
    assert listener.end.stop_reason in ({"cancelled", "end_turn"} if stack.name == "opencode" else {"error"})
    assert (await stack.turn("1001", "say still here")).text == "still here"


async def test_two_sessions_at_once_do_not_mix(stack, model):
    held = stack.send("1001", "slow")
    await stack.sees(held, "Thinking")
    listener = stack.send("1002", "run echo two > file")
    await stack.answer(listener, *ALLOW)
    await stack.over(listener)
    rows = stack.row("1001"), stack.row("1002")
    assert (rows[0].state, rows[1].state) == ("busy", "idle")
    assert len({(row.pid, row.session_id, row.acp_session_id, row.cwd) for row in rows}) == 2
    assert not (Path(rows[0].cwd) / "file").exists()
    assert (Path(rows[1].cwd) / "file").read_text() == "two\n"
    model.release()
    await stack.over(held)
    assert (held.text, held.end.stop_reason) == ("Thinking", "end_turn")
    assert (await stack.kill("1001")).processes_left == 0
    assert (await stack.turn("1002", "say unharmed")).text == "unharmed"
