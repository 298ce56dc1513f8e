"""An agent built by others, with the Python ACP SDK: a whole conversation through the pool."""

from __future__ import annotations

import sys

from tests.fakes.agents import sdk_agent
from tests.sessions.test_pool import kill


async def test_a_whole_conversation_with_an_agent_made_with_the_sdk(make_harness):
    harness = make_harness(argv=(sys.executable, sdk_agent.__file__))
    first = await harness.turn("1001", "hello")
    assert (first.text, first.end.stop_reason) == ("You said: hello", "end_turn")

    asking = harness.send("1001", "ask")
    await asking.wants_permission.wait()
    assert harness.row("1001").waiting_for == "touch a file"
    asking.asks[0].select("yes")
    await asking.over.wait()
    assert asking.text == "You said: ask -> selected yes"

    waiting = harness.send("1001", "wait")
    await waiting.sees("wait")
    assert await harness.pool.cancel("1001") == "cancelled"
    await waiting.over.wait()
    assert waiting.end.stop_reason == "cancelled"

    row = harness.row("1001")
    assert (row.turns, row.state, row.acp_session_id) == (3, "idle", f"sdk:{row.cwd}")
    assert (await harness.pool.detail("1001")).stderr == ["an agent made with the SDK"]
    result = await kill(harness, "1001")
    assert (result.outcome, result.processes_left, result.resumable) == ("ended", 0, False)


async def test_the_answer_to_a_form_reaches_an_agent_made_with_the_sdk(make_harness):
    harness = make_harness(argv=(sys.executable, sdk_agent.__file__))
    asking = harness.send("1001", "question")
    await asking.is_asked.wait()
    question = asking.questions[0]
    assert [(one.name, one.label, one.kind, one.required) for one in question.form.fields] == [
        ("size", "Size", "integer", True),
        ("color", "color", "choice", False),
    ]
    question.answer("accept", {"size": 3, "color": "red"})
    await asking.over.wait()
    assert asking.text == "You said: question -> accept {'size': 3, 'color': 'red'}"


async def test_a_rejection_reaches_an_agent_made_with_the_sdk(make_harness):
    harness = make_harness(argv=(sys.executable, sdk_agent.__file__), policy="deny")
    assert (await harness.turn("1001", "ask")).text == "You said: ask -> selected no"
