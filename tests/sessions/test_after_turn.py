"""What an agent sends while no turn runs: after an answer, on its own, and late after it has reopened a session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from acpbot.chat.local import LocalChat
from acpbot.sessions.after_turn import MESSAGES_MOST
from acpbot.sessions.pauses import Pauses
from tests.support.scripted_agents import END, Gate, chunk, runs_tool, says, scripted, updates
from tests.support.turn_listener import PATIENCE, send, turn

if TYPE_CHECKING:
    from tests.support.pool import Listener

LONG = Pauses(settle=30, message=0.05, quiet=0.05, replay=0.05)
SHORT = Pauses(settle=0.0, message=0.05, quiet=0.05, replay=0.05)
ASK = {"ask": {"toolCallId": "b", "title": "make", "rawInput": {"command": "make"}}}


async def unprompted(harness, number: int = 0) -> Listener:
    while len(harness.events.unprompted_listeners) <= number:
        harness.events.spoken.clear()
        await asyncio.wait_for(harness.events.spoken.wait(), PATIENCE)
    thread, listener = harness.events.unprompted_listeners[number]
    assert thread == "1001"
    return listener


async def over(listener: Listener) -> str:
    await asyncio.wait_for(listener.over.wait(), PATIENCE)
    return listener.text


def tail(harness) -> list[tuple[str, str]]:
    lines, leave = harness.session("1001").turns.output.follow(lambda _line: None)
    leave()
    return [(line["kind"], line["text"]) for line in lines]


async def test_a_text_right_after_the_answer_belongs_to_the_answer(make_harness):
    harness = make_harness(argv=scripted(prompts=[[says("one"), END, says(" more")]]), pauses=LONG)
    listener = send(harness, "one")
    await listener.sees("one more")
    assert not listener.over.is_set(), "the agent may still write"
    await harness.pool.cancel("1001")
    await listener.ends()
    assert (listener.end.stop_reason, harness.events.unprompted_listeners) == ("end_turn", [])


async def test_a_session_that_ends_in_that_moment_keeps_the_answer(make_harness):
    harness = make_harness(argv=scripted(prompts=[[says("one"), END, says(" more")]]), pauses=LONG)
    listener = send(harness, "one")
    await listener.sees("more")
    await harness.pool.kill([harness.target("1001")])
    assert listener.end.stop_reason == "end_turn"


async def test_an_agent_that_never_stops_can_not_keep_its_turn_open(make_harness):
    endless = [{**says("x"), "times": 20_000}]
    harness = make_harness(argv=scripted(prompts=[[says("one"), END, *endless]]), pauses=SHORT._replace(settle=0.01))
    listener = await turn(harness, "one")
    assert listener.end.stop_reason == "end_turn"


@pytest.mark.parametrize("between", [updates("tool_call_update", toolCallId="t", status="completed"), ASK])
async def test_a_later_text_has_a_paragraph_after_a_tool_call_or_a_question(make_harness, tmp_path, between):
    gate = Gate(tmp_path / "gate")
    steps = [says("one"), END, gate.step, says("It ends."), between, says("Good.")]
    harness = make_harness(argv=scripted(prompts=[steps]), pauses=SHORT, policy="allow")
    await turn(harness, "one")
    await gate.open()
    assert await over(await unprompted(harness)) == "It ends.\n\nGood."


async def test_a_later_text_is_a_message_of_its_own_and_a_line_of_the_tail(make_harness, tmp_path):
    gate = Gate(tmp_path / "gate")
    steps = [says("one"), END, gate.step, says("The build "), says("passes."), runs_tool("t"), says("Good.")]
    harness = make_harness(argv=scripted(prompts=[steps]), pauses=SHORT)
    answer = await turn(harness, "one")
    await gate.open()
    message = await unprompted(harness)
    assert await over(message) == "The build passes.\n\nGood."
    assert (message.end.stop_reason, answer.text) == ("end_turn", "one")
    assert ("text", "The build passes.") in tail(harness)
    assert tail(harness)[-1] == ("text", "Good.")


async def test_a_turn_that_starts_meanwhile_finishes_the_message_first(make_harness, tmp_path):
    gate = Gate(tmp_path / "gate")
    steps = [says("one"), END, gate.step, says("built")]
    harness = make_harness(argv=scripted(prompts=[steps, [says("two"), END]]), pauses=SHORT._replace(message=30))
    await turn(harness, "one")
    await gate.open()
    message = await unprompted(harness)
    await message.sees("built")
    two = send(harness, "two")
    assert await over(message) == "built"
    await two.ends()
    assert two.text == "two"
    assert [text for _, text in tail(harness)] == ["one", "one", "end_turn", "built", "two", "two", "end_turn"]


async def test_white_space_and_thoughts_are_no_message(make_harness, tmp_path):
    gate = Gate(tmp_path / "gate")
    thought = chunk("agent_thought_chunk", "hm")
    title = updates("session_info_update", title="Builds")
    harness = make_harness(argv=scripted(prompts=[[END, gate.step, says("\n "), thought, title]]), pauses=SHORT)
    titled = asyncio.Event()
    leave = harness.pool.subscribe(lambda _, row: titled.set() if row.title == "Builds" else None)
    await turn(harness, "one")
    await gate.open()
    await asyncio.wait_for(titled.wait(), PATIENCE)
    leave()
    assert harness.events.unprompted_listeners == []


async def test_an_agent_that_talks_for_ever_outside_turns_is_cut_off_and_the_thread_reads_so(make_harness, tmp_path):
    gate, flood = Gate(tmp_path / "gate"), {**says("x" * 1000), "times": 200}
    steps = [says("one"), END, gate.step, flood]
    harness = make_harness(argv=scripted(prompts=[steps, [says("two"), END]]), pauses=SHORT)
    await turn(harness, "one")
    await gate.open()
    await asyncio.wait_for(harness.events.noted.wait(), PATIENCE)
    assert "I won't show more" in harness.events.permission_notes[0][1].text
    assert (await turn(harness, "two")).text.endswith("two")
    shown = sum(len(listener.text) for _, listener in harness.events.unprompted_listeners)
    assert shown <= 65_536
    assert len(harness.events.permission_notes) == 1
    assert len(harness.events.unprompted_listeners) <= MESSAGES_MOST


async def test_a_permission_outside_a_turn_is_asked_and_answered(make_harness, tmp_path):
    gate = Gate(tmp_path / "gate")
    steps = [says("one"), END, gate.step, ASK, {"answer": True}]
    harness = make_harness(argv=scripted(prompts=[steps]), pauses=SHORT)
    await turn(harness, "one")
    await gate.open()
    asked = await unprompted(harness)
    assert (harness.row("1001").state, harness.row("1001").waiting_for) == ("waiting", "make")
    asked.asks[0].select("yes", by="7")
    message = await unprompted(harness, 1)
    assert await over(message) == "selected yes"
    assert asked.ask_outcomes == ["selected"]
    assert harness.row("1001").state == "idle"


async def test_a_permission_outside_a_turn_times_out(make_harness):
    steps = [says("one"), END, ASK, {"answer": True}]
    harness = make_harness(argv=scripted(prompts=[steps]), pauses=SHORT, timeout_seconds=0.05)
    await turn(harness, "one")
    assert await over(await unprompted(harness, 1)) == "selected no"


async def test_a_permission_outside_a_turn_is_refused_when_the_session_ends(make_harness):
    harness = make_harness(argv=scripted(prompts=[[says("one"), END, ASK, {"answer": True}]]), pauses=SHORT)
    await turn(harness, "one")
    asked = await unprompted(harness)
    await harness.pool.kill([harness.target("1001")])
    assert asked.ask_outcomes == ["cancelled"]


async def test_a_permission_outside_a_turn_stays_open_beside_a_turn(make_harness):
    harness = make_harness(argv=scripted(prompts=[[says("one"), END, ASK], [says("two"), END]]), pauses=SHORT)
    await turn(harness, "one")
    asked = await unprompted(harness)
    assert (await turn(harness, "two")).text == "two"
    assert (asked.ask_outcomes, harness.row("1001").state) == ([], "waiting")


OLD = [chunk("user_message_chunk", "old question"), says("old answer")]
LOADS = {"loadSession": True}


async def reopened(make_harness, pauses, **script):
    """A harness whose thread's next turn reopens its session."""
    harness = make_harness(argv=scripted(capabilities=LOADS, **script), pauses=pauses)
    await turn(harness, "one")
    session = harness.session("1001")
    await session.end("evicted")
    return harness


@pytest.mark.parametrize("late", [OLD, [says("old answer")], [runs_tool("t"), says("old answer")]])
async def test_history_that_comes_after_the_answer_to_load_is_not_shown(make_harness, late):
    pauses = SHORT._replace(quiet=0.3)
    harness = await reopened(make_harness, pauses, reopened=late, prompts=[[says("new"), END]])
    assert (await turn(harness, "two")).text == "new"
    assert harness.events.unprompted_listeners == []


async def test_a_text_before_a_message_of_the_user_is_history_even_in_the_first_turn(make_harness):
    first = [says("older answer"), *OLD[:1], says("new"), END]
    harness = await reopened(make_harness, LONG._replace(settle=0.0, replay=30), prompts=[first])
    assert (await turn(harness, "two")).text == "new"


async def test_an_answer_after_reopening_is_shown_once_no_history_can_come_any_more(make_harness, tmp_path):
    gate = Gate(tmp_path / "gate")
    harness = make_harness(
        argv=scripted(capabilities=LOADS, prompts=[[says("new"), {"pause": str(tmp_path / "gate")}, END]]),
        pauses=SHORT,
    )
    for text in ("one", "two"):
        listener = send(harness, text)
        await listener.sees("new")
        await gate.open()
        await listener.ends()
        await harness.session("1001").end("evicted")


async def test_the_terminals_chat_gets_a_later_text_as_a_message(make_harness, tmp_path):
    gate = Gate(tmp_path / "gate")
    steps = [says("one"), END, gate.step, says("It is "), says("built.")]
    ended = asyncio.Event()
    harness = make_harness(argv=scripted(prompts=[steps]), pauses=SHORT)
    chat, events, came = LocalChat(harness.pool), [], asyncio.Event()

    def emit(event) -> None:
        events.append(event)
        if event["type"] == "message":
            came.set()
        if event["type"] == "turn_end":
            ended.set()

    await chat.open("demo", None, "ada", emit)
    await chat.send("demo", "go", "ada")
    await asyncio.wait_for(ended.wait(), PATIENCE)
    await gate.open()
    await asyncio.wait_for(came.wait(), PATIENCE)
    shown = [(event["type"], event["text"]) for event in events if event["type"] in {"turn_end", "message"}]
    assert shown == [("turn_end", "one"), ("message", "It is built.")]
