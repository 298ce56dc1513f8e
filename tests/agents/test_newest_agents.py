"""The newest releases of two agents, offline: a turn, a permission, a command of the agent's own, a restart.

And the same for each agent that ACPBOT_TEST_AGENTS names.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.agents.test_real_agents_restart import converse, restarts, until_idle  # noqa: F401 - a fixture
from tests.support import optional_agents
from tests.support.agent_stack import LIMIT
from tests.support.real_agents import ASKING

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(3 * LIMIT)]

COMMANDS = {
    "codex-newest": ("/status", "Model"),
    "claude-newest": ("/context", "Context"),
    **optional_agents.COMMANDS,
}
"""One that needs no model, and a word of its answer."""


ACTION = "escalate rm -rf none && echo hi > file"
"""Some agents ask only before a command that may do harm."""


@pytest.fixture(params=[*sorted(ASKING), *optional_agents.chosen()])
def agent_name(request):
    return request.param


async def test_an_answer_streams_and_the_mode_of_the_configuration_is_set(stack, model):
    listener = await stack.turn("1001", "say the quick brown fox")
    assert listener.text.endswith("the quick brown fox")
    row = stack.row("1001")
    assert (row.state, row.turns, row.resumable) == ("idle", 1, True)
    assert row.mode == ASKING.get(stack.name, row.mode)
    assert listener.end.stop_reason == "end_turn"
    assert all(request.body["stream"] for request in model.requests)


async def test_a_tool_runs_when_it_is_permitted_and_not_when_it_is_rejected(stack):
    listener = stack.send("1001", ACTION)
    await stack.answer(listener, "reject_once", "reject_always")
    await stack.over(listener)
    path = Path(stack.row("1001").cwd) / "file"
    assert not path.exists()
    listener = stack.send("1001", ACTION)
    await stack.answer(listener, "allow_once")
    await stack.over(listener)
    assert listener.end.stop_reason == "end_turn"
    assert path.read_text() == "hi\n"


async def test_a_command_of_the_agent_s_own_runs_without_the_model(stack, model):
    await stack.turn("1001", "say hello")
    before = [request for request in model.requests if request.tools]
    command, word = COMMANDS[stack.name]
    listener = await stack.turn("1001", command)
    assert word in listener.text
    assert [request for request in model.requests if request.tools] == before


async def test_the_conversation_continues_after_a_kill(stack):
    await stack.turn("1001", "say the harbour is blue")
    before = stack.row("1001")
    result = await stack.kill("1001")
    assert (result.outcome, result.processes_left, result.resumable) == ("ended", 0, True)
    listener = await stack.turn("1001", "recall")
    assert listener.text.endswith("You told me: the harbour is blue")
    after = stack.row("1001")
    assert (after.acp_session_id, after.mode) == (before.acp_session_id, before.mode)
    assert after.session_id != before.session_id


# Not claude: after a restart its program asks the model by itself, and the play takes that for a prompt.
@pytest.mark.parametrize("agent_name", ["codex-newest"])
async def test_the_conversation_continues_after_the_daemon_is_killed(restarts, model):  # noqa: F811 - the fixture
    await asyncio.to_thread(converse, restarts, model, until_idle, signal.SIGKILL)


@pytest.mark.parametrize("agent_name", sorted(ASKING))
async def test_each_option_of_the_agent_can_be_set_to_each_of_its_values(stack):
    await stack.turn("1001", "say hello")
    session = stack.session("1001")
    assert {option.key for option in session.options.listed()} >= {"model", "mode"}
    kinds = [option for option in session.options.listed() if option.key not in {"model", "mode"}]
    assert kinds
    for option in kinds:
        for choice in option.choices:
            await session.choose(option.key, choice.value)
            (now,) = [one for one in session.options.listed() if one.key == option.key]
            assert now.current is not None
            assert now.current.value == choice.value
