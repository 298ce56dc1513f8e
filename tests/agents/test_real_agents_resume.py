"""Real agents list their conversations, and a thread takes one up that it did not begin."""

from __future__ import annotations

import pytest

from acpbot.chat.earlier_conversations import EarlierConversations
from acpbot.chat.thread_commands import CommandedEnds
from tests.support.agent_stack import LIMIT

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(3 * LIMIT)]


@pytest.fixture(params=["codex", "opencode"])
def agent_name(request):
    return request.param


async def test_a_thread_goes_on_with_a_conversation_that_the_agent_lists(stack):
    harness = stack._harness
    harness.reload(workspace_mode="shared")
    pool = harness.pool
    earlier = EarlierConversations(pool, "test", CommandedEnds(pool), lambda _thread, _text: None)
    await stack.turn("1001", "say the harbour is blue")
    begun = stack.row("1001").acp_session_id
    await stack.kill("1001")
    pool.forget("1001")
    await stack.turn("1002", "say two")
    assert begun in [one.acp_session_id for one in (await earlier.list("1002")).conversations]
    await earlier.take_up("1003", begun, owner="7", agent=None, by="7")
    assert (await stack.turn("1003", "recall")).text == "You told me: the harbour is blue"
    assert stack.row("1003").acp_session_id == begun
