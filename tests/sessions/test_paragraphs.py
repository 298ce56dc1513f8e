"""Where the text of an agent begins a new paragraph."""

from __future__ import annotations

from typing import Any

import pytest

from acpbot.chat.conversation import Conversation
from acpbot.chat.local import LocalChat
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.sessions.turn import Turn
from tests.chat.test_conversation import Silent
from tests.support.scripted_agents import END, chunk, runs_tool, says, scripted, updates
from tests.support.turn_listener import AnyListener, turn

TOOL = runs_tool("t1")
DONE = updates("tool_call_update", toolCallId="t1", status="completed")
PLAN = updates("plan", entries=[{"content": "look", "status": "pending"}])
IMAGE = updates("agent_message_chunk", content={"type": "image", "data": "AAAA", "uri": "file:///srv/plot.png"})
LINK = {"type": "resource_link", "name": "x", "uri": "https://a.b"}
THOUGHT = chunk("agent_thought_chunk", "hm")


@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        ([says("I look first."), TOOL, DONE, says("Done"), says(".")], "I look first.\n\nDone."),
        ([says("I look first."), DONE, says(" Done")], "I look first. Done"),
        ([says("I look first.\n"), TOOL, says("Done")], "I look first.\nDone"),
        ([says("I look first."), TOOL, says("\n\nDone")], "I look first.\n\nDone"),
        ([says("I look first."), TOOL, says(""), says("Done")], "I look first.\n\nDone"),
        ([says("I look first."), updates("tool_call_update", toolCallId="x", title="rm"), says("Done")],
         "I look first.\n\nDone"),
        ([says("I look first."), DONE, says("Done")], "I look first.\n\nDone"),
        ([says("I look first."), TOOL, DONE, says("Do"), DONE, says("ne")], "I look first.\n\nDone"),
        ([says("one"), PLAN, says("two")], "one\n\ntwo"),
        ([says("one"), THOUGHT, says("two")], "onetwo"),
        ([TOOL, says("one"), DONE, says("two")], "onetwo"),
        ([says("one", "a"), says("two", "b"), says("three", "b")], "one\n\ntwothree"),
        ([says("one", "a"), TOOL, says("two", "a")], "onetwo"),
        ([says("one", "a"), says("two"), says("three", "a")], "onetwothree"),
        ([says("one", "a"), TOOL, says("two")], "one\n\ntwo"),
        ([says("one", "a"), says("two "), says("three", "b")], "onetwo three"),
        ([says("```sh\nmake"), TOOL, says("Done")], "```sh\nmake\n```\n\nDone"),
        ([says("```sh\nmake\n"), TOOL, says("Done")], "```sh\nmake\n```\n\nDone"),
        ([says("```sh\nmake\n"), TOOL, says("```\nDone")], "```sh\nmake\n```\nDone"),
        ([says("~~~~\nmake\n", "a"), says("```py\nx\n```", "b")], "~~~~\nmake\n~~~~\n\n```py\nx\n```"),
        ([says("Here:"), IMAGE, says("Done"), says(".")], "Here:\n\n[plot.png]\n\nDone."),
        ([says("See ", "a"), updates("agent_message_chunk", messageId="a", content=LINK), says(".", "a")],
         "See [x](<https://a.b>)."),
        ([says("``"), says("`\nx\n```"), TOOL, says("Done")], "```\nx\n```\n\nDone"),
    ],
)  # fmt: skip
async def test_a_paragraph_begins_with_another_message_or_after_a_tool_call(make_harness, steps, shown):
    harness = make_harness(argv=scripted(prompts=[[*steps, END]]))
    listener = await turn(harness, "one")
    assert listener.text == shown
    lines, leave = harness.session("1001").turns.output.follow(lambda _line: None)
    leave()
    assert "".join(line["text"] for line in lines if line["kind"] == "text") == shown.replace("\n", "")


async def test_a_permission_request_ends_a_paragraph(make_harness):
    steps = [says("May I?"), {"ask": {"toolCallId": "t", "title": "ls"}}, {"answer": True}, END]
    harness = make_harness(argv=scripted(prompts=[steps]), policy="allow")
    assert (await turn(harness, "one")).text == "May I?\n\nselected yes"


async def test_each_turn_begins_without_a_break(make_harness):
    harness = make_harness(argv=scripted(prompts=[[says("one", "a"), END], [says("two", "b"), END]]))
    assert [(await turn(harness, "x")).text, (await turn(harness, "x")).text] == ["one", "two"]


async def test_the_tail_shows_the_text_before_a_tool_call_before_the_call(make_harness):
    harness = make_harness(argv=scripted(prompts=[[says("first."), TOOL, says("Done"), END]]))
    await turn(harness, "one")
    lines, leave = harness.session("1001").turns.output.follow(lambda _line: None)
    leave()
    assert [(line["kind"], line["text"]) for line in lines] == [
        ("prompt", "one"), ("text", "first."), ("tool", "running: ls"), ("text", ""), ("text", "Done"),
        ("turn_end", "end_turn"),
    ]  # fmt: skip


async def test_the_tail_shows_a_tool_call_whose_first_update_is_its_end(make_harness):
    whole = updates("tool_call", toolCallId="t1", title="ls", status="completed")
    harness = make_harness(argv=scripted(prompts=[[whole, DONE, END]]))
    await turn(harness, "one")
    lines, leave = harness.session("1001").turns.output.follow(lambda _line: None)
    leave()
    assert [line["text"] for line in lines if line["kind"] == "tool"] == ["completed: ls"]


async def test_the_end_of_a_turn_in_the_terminals_chat_has_the_paragraphs(make_harness):
    harness = make_harness(argv=scripted(prompts=[[says("first."), TOOL, says("Done"), END]]))
    chat, events, over = LocalChat(harness.pool), [], AnyListener()

    def emit(event: dict[str, Any]) -> None:
        events.append(event)
        if event["type"] == "turn_end":
            over.over.set()

    await chat.open("demo", None, "ada", emit)
    await chat.send("demo", "go", "ada")
    await over.ends()
    assert [event["text"] for event in events if event["type"] == "turn_end"] == ["first.\n\nDone"]
    assert "".join(event["text"] for event in events if event["type"] == "text") == "first.\n\nDone"


async def test_the_live_message_has_the_paragraphs(make_harness):
    harness = make_harness(argv=scripted(prompts=[[says("first."), TOOL, says("Done"), END]]))
    shown, over = Conversation(Silent(), LiveMessage()), AnyListener()
    harness.pool.submit("t", Turn([{"type": "text", "text": "x"}], shown, text="x"), platform="test")
    harness.pool.submit("t", Turn([{"type": "text", "text": "y"}], over, text="y"), platform="test")
    await over.ends()
    assert shown.live.text == "first.\n\nDone"
