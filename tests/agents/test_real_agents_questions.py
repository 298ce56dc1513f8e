"""The question that claude-agent-acp asks its user, offline: it is a form, and the answer reaches the model."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.agent_stack import LIMIT

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(3 * LIMIT)]


@pytest.fixture(params=["claude-newest"])
def agent_name(request):
    return request.param


async def asked(stack):
    listener = stack.send("1001", "choose Which color? | Red | Green")
    await asyncio.wait_for(listener.is_asked.wait(), LIMIT)
    return listener, listener.questions[0]


async def test_a_choice_of_claude_is_a_form_and_the_answer_reaches_the_model(stack):
    listener, question = await asked(stack)
    assert (question.form.message, question.form.unusable) == ("Which color?", None)
    choice, other = question.form.fields
    assert (choice.kind, [one.value for one in choice.choices]) == ("choice", ["Red", "Green"])
    assert (other.kind, other.required) == ("text", False)
    question.answer("accept", {choice.name: "Green"})
    await stack.over(listener)
    assert "Green" in listener.text


async def test_a_text_of_ones_own_answers_claude_too(stack):
    listener, question = await asked(stack)
    question.answer("accept", {question.form.fields[1].name: "Ultramarine"})
    await stack.over(listener)
    assert "Ultramarine" in listener.text
