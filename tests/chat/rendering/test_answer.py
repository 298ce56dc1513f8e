"""An answer of several live messages: what is in which, and what stays where it is."""

from __future__ import annotations

import pytest

from acpbot.chat.rendering.answer import MESSAGES_MOST, Answer
from acpbot.chat.rendering.live_message import LiveMessage


def below(full_bodies: int) -> LiveMessage:
    return LiveMessage(limit=400, max_bodies=max(5 - full_bodies, 1))


@pytest.fixture
def answer() -> Answer:
    return Answer(below(0), below)


def test_what_comes_after_something_else_is_in_a_message_of_its_own(answer):
    answer.append("one ")
    answer.close_here()
    answer.append("two ")
    answer.append("three")
    assert answer.messages() == [["one"], ["two three"]]
    assert answer.text == "one two three"


def test_an_answer_of_which_nothing_is_shown_yet_begins_below(answer):
    answer.append("\n")
    answer.close_here()
    answer.append("one")
    answer.append("two")
    assert answer.bodies() == ["onetwo"]


def test_a_tool_stays_where_it_was_shown_and_a_new_one_is_shown_below(answer):
    answer.tool("a", title="first", kind=None, status="in_progress")
    answer.append("one")
    answer.close_here()
    answer.tool("a", title=None, kind=None, status="completed")
    assert answer.messages() == [["✅ `first`\none"]]
    answer.tool("b", title="second", kind=None, status="in_progress")
    answer.append("two")
    assert answer.messages() == [["✅ `first`\none"], ["🔧 `second`\ntwo"]]


def test_a_plan_is_replaced_where_it_was_shown(answer):
    answer.plan([{"content": "look", "status": "in_progress"}])
    answer.close_here()
    answer.append("one")
    answer.plan([{"content": "look", "status": "completed"}])
    assert answer.messages() == [["☑ look"], ["one"]]


def test_code_goes_on_as_code(answer):
    answer.append("```python\na = 1\n")
    answer.close_here()
    answer.append("b = 2\n```\n")
    assert answer.messages() == [["```python\na = 1\n```"], ["```python\nb = 2\n```"]]


def test_a_closed_message_keeps_its_number_of_bodies(answer):
    answer.append("x" * 200)
    answer.close_here()
    answer.append("y")
    answer.tool("a", title="tool", kind=None, status="in_progress")
    answer.close_here()
    answer.tool("a", title="t" * 300, kind=None, status="completed")
    answer.plan([{"content": "p" * 100, "status": "pending"}] * 9)
    assert [len(bodies) for bodies in answer.messages()][:2] == [1, 1]
    assert all(len(body) <= 400 for body in answer.bodies())


def test_the_end_of_a_turn_stops_every_tool_and_a_restart_would(answer):
    answer.tool("a", title="first", kind=None, status="in_progress")
    answer.close_here()
    answer.append("two")
    assert answer.if_interrupted() == {0: "⏹️ `first`"}
    answer.finish()
    assert answer.messages() == [["⏹️ `first`"], ["two"]]
    assert answer.if_interrupted() == {}


def test_many_tools_that_are_interrupted_are_counted(answer):
    for number in range(5):
        answer.tool(str(number), title="tool", kind=None, status="completed" if number else "in_progress")
    answer.finish()
    assert answer.bodies() == ["✅ 4 tools · ⏹️ 1 interrupted"]


def test_the_footer_is_below_the_last_text(answer):
    answer.append("one")
    answer.close_here()
    answer.tool("a", title="tool", kind=None, status="completed")
    answer.footer("agent")
    assert answer.messages() == [["one\n-# agent"], ["✅ `tool`"]]


def test_the_number_of_messages_is_bounded_and_a_file_is_the_last(answer):
    for _ in range(MESSAGES_MOST * 2):
        answer.append("one")
        answer.close_here()
    assert len(answer.messages()) == MESSAGES_MOST
    long = Answer(below(4), below)
    long.append("x" * 1000)
    long.close_here()
    long.append("y")
    assert len(long.messages()) == 1
    assert (long.overflow() or "").endswith("y")
