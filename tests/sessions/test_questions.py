"""The questions of an agent to people: who may answer, what the agent gets, and when nobody is asked."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.acp.form_values import WrongAnswerError
from acpbot.errors import Conflict, InvalidParams, NotFound
from acpbot.sessions.questions import MOST_ASKED, MOST_OPEN
from acpbot.sessions.views import for_readers
from tests.support.scripted_agents import END, Gate, scripted

if TYPE_CHECKING:
    from acpbot.sessions.questions import Question
    from tests.support.pool import Harness, Listener

FORM = {
    "mode": "form",
    "message": "Which\u202e color?\nAnd how many?",
    "requestedSchema": {
        "type": "object",
        "properties": {
            "color": {"type": "string", "oneOf": [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]},
            "count": {"type": "integer", "minimum": 1, "maximum": 5},
        },
        "required": ["color"],
    },
}
PAGE = {"mode": "url", "message": "Sign in", "url": "https://example.com/x", "elicitationId": "e-1"}
ASK = [{"elicit": FORM}, {"answered": True}, END]


@pytest.fixture
def make(make_harness):
    return lambda *steps, **keys: make_harness(argv=scripted(prompts=[list(steps)]), **keys)


async def asked(harness: Harness) -> tuple[Listener, Question]:
    listener = harness.send("1001", "x")
    await asyncio.wait_for(listener.is_asked.wait(), 20)
    return listener, listener.questions[0]


async def reply(listener: Listener) -> Any:
    """What the agent was answered, once its turn is over."""
    await asyncio.wait_for(listener.over.wait(), 20)
    return json.loads(listener.text)


async def test_the_agent_gets_the_content_of_an_answer(make):
    harness = make(*ASK)
    listener, question = await asked(harness)
    question.answer("accept", {"count": 2, "color": "g"}, by="7")
    assert await reply(listener) == {"action": "accept", "content": {"color": "g", "count": 2}}
    assert (question.outcome, question.answered_by) == ("accepted", "7")
    assert listener.question_outcomes == ["accepted"]


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_the_agent_gets_a_refusal(make, action):
    listener, question = await asked(make(*ASK))
    question.answer(action)
    assert await reply(listener) == {"action": action}


async def test_an_answer_that_does_not_fit_leaves_the_question_open(make):
    listener, question = await asked(make(*ASK))
    with pytest.raises(WrongAnswerError, match="it must be at most 5"):
        question.answer("accept", {"color": "r", "count": 6})
    with pytest.raises(WrongAnswerError, match="it needs an answer"):
        question.answer("accept", {"count": 5})
    with pytest.raises(InvalidParams, match="no field 'size'"):
        question.answer("accept", {"color": "r", "size": 1})
    with pytest.raises(InvalidParams, match="takes no content"):
        question.answer("decline", {"color": "r"})
    assert question.outcome is None
    question.answer("accept", {"color": "r"})
    with pytest.raises(Conflict):
        question.answer("decline")
    assert await reply(listener) == {"action": "accept", "content": {"color": "r"}}


async def test_a_session_with_a_question_waits_and_says_for_what(make):
    harness = make(*ASK)
    listener, question = await asked(harness)
    row = harness.row("1001")
    assert (row.state, row.waiting_for) == ("waiting", "Which color? And how many?")
    detail = await harness.pool.detail("1001")
    assert detail.permission is None
    assert detail.question is not None
    assert detail.question.request == question.request
    assert [(one.name, one.kind, one.hint) for one in detail.question.fields] == [
        ("color", "choice", None),
        ("count", "integer", "a whole number, 1 to 5"),
    ]
    shown = for_readers(detail)
    assert shown.waiting_for == "an answer"
    assert shown.question is not None
    assert (shown.question.message, shown.question.fields) == ("", [])
    question.answer("decline")
    await reply(listener)
    assert harness.row("1001").state == "idle"
    assert (await harness.pool.detail("1001")).question is None


async def test_an_address_is_accepted_without_content(make):
    listener, question = await asked(make({"elicit": PAGE}, {"answered": True}, END))
    assert (question.form.url, question.form.host) == ("https://example.com/x", "example.com")
    question.answer("accept")
    assert await reply(listener) == {"action": "accept"}


async def test_a_question_about_an_address_ends_where_the_agent_says_that_it_is_done(make):
    other = {"complete": "another"}
    listener, question = await asked(make({"elicit": PAGE}, other, {"complete": "e-1"}, {"answered": True}, END))
    assert await reply(listener) == {"action": "accept"}
    assert question.outcome == "completed"


async def test_a_question_that_the_agent_withdraws_is_cancelled(make):
    listener, question = await asked(make({"elicit": FORM}, {"withdraw": True}, {"answered": True}, END))
    assert await reply(listener) == {"action": "cancel"}
    assert (question.outcome, listener.question_outcomes) == ("cancelled", ["cancelled"])


async def test_a_question_that_nobody_answers_in_time_is_cancelled(make):
    listener, question = await asked(make(*ASK, timeout_seconds=0.05))
    assert await reply(listener) == {"action": "cancel"}
    assert (question.outcome, question.reason) == ("expired", "timeout")


async def test_a_question_is_cancelled_with_its_turn(make):
    harness = make(*ASK)
    _, question = await asked(harness)
    await harness.pool.cancel("1001")
    assert question.outcome == "cancelled"


async def test_a_question_is_cancelled_with_its_session(make):
    harness = make(*ASK)
    listener, question = await asked(harness)
    await harness.pool.kill([harness.target("1001")])
    assert (question.outcome, listener.question_outcomes) == ("cancelled", ["cancelled"])


async def test_nobody_is_asked_where_the_policy_is_deny(make):
    listener = make(*ASK, policy="deny").send("1001", "x")
    assert await reply(listener) == {"action": "cancel"}
    assert listener.questions == []
    assert [note.line for note in listener.notes] == ["Cancelled a question by policy: Which color? And how many?"]


async def test_an_open_question_is_cancelled_where_the_policy_becomes_deny(make):
    harness = make(*ASK)
    listener, question = await asked(harness)
    harness.reload(policy="deny")
    assert await reply(listener) == {"action": "cancel"}
    assert (question.outcome, question.reason) == ("cancelled", "policy")


async def test_two_questions_of_one_id_are_both_cancelled(make_harness):
    same = {"elicit": FORM, "id": "same"}
    listener = make_harness(argv=scripted(prompts=[[same, same, {"answered": True}, END]])).send("1001", "x")
    assert await reply(listener) == {"action": "cancel"}
    assert listener.question_outcomes == ["cancelled"]


async def test_people_are_asked_where_the_policy_allows_every_permission(make):
    listener, question = await asked(make(*ASK, policy="allow"))
    question.answer("decline")
    assert await reply(listener) == {"action": "decline"}


async def test_a_question_outside_a_turn_is_asked(make_harness, tmp_path):
    gate = Gate(tmp_path / "gate")
    harness = make_harness(argv=scripted(prompts=[[END, gate.step, {"elicit": FORM}, {"answered": True}]]))
    await asyncio.wait_for(harness.send("1001", "x").over.wait(), 20)
    await gate.open()
    await asyncio.wait_for(harness.events.spoken.wait(), 20)
    _, listener = harness.events.unprompted_listeners[0]
    assert harness.row("1001").state == "waiting"
    listener.questions[0].answer("decline")
    assert listener.question_outcomes == ["declined"]
    assert harness.row("1001").state == "idle"


async def test_questions_beyond_the_limits_are_cancelled(make):
    many = {"elicit": FORM, "times": MOST_OPEN + 1}
    listener = make(many, {"answered": True}, END).send("1001", "x")
    assert await reply(listener) == {"action": "cancel"}
    assert listener.question_outcomes == ["cancelled"] * MOST_OPEN


async def test_a_turn_may_ask_a_bounded_number_of_questions(make):
    steps = [{"elicit": FORM}, {"withdraw": True}]
    listener = make(*(steps * (MOST_ASKED + 3)), {"answered": True}, END).send("1001", "x")
    assert await reply(listener) == {"action": "cancel"}
    assert len(listener.questions) == MOST_ASKED


async def test_a_question_that_can_not_be_shown_can_only_be_declined(make):
    fields = {str(number): {"type": "string"} for number in range(1000)}
    steps = {"elicit": {**FORM, "requestedSchema": {"properties": fields}}}
    listener, question = await asked(make(steps, {"answered": True}, END))
    with pytest.raises(InvalidParams, match="1,000 fields"):
        question.answer("accept", {})
    question.answer("decline")
    assert await reply(listener) == {"action": "decline"}


async def test_a_question_that_is_not_of_the_protocol_is_an_error(make):
    listener = make({"elicit": {"mode": "form"}}, {"answered": True}, END).send("1001", "x")
    assert (await reply(listener))["code"] == -32602
    assert listener.questions == []


async def test_an_operator_answers_by_the_name_of_the_question(make):
    harness = make(*ASK)
    listener, question = await asked(harness)
    questions = harness.pool.get("1001").questions
    with pytest.raises(NotFound):
        questions.answer("other", "decline", None)
    with pytest.raises(InvalidParams, match="cannot accept this answer: color: it needs an answer"):
        questions.answer(question.request, "accept", None)
    questions.answer(question.request, "accept", {"color": "r"})
    assert await reply(listener) == {"action": "accept", "content": {"color": "r"}}
    assert question.answered_by is None
