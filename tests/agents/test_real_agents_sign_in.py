"""An agent that has an API key in its environment and no login: it answers all the same."""

from __future__ import annotations

import pytest

from tests.support.agent_stack import LIMIT

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(3 * LIMIT)]


@pytest.mark.parametrize("agent_name", ["codex-with-a-key", "codex-newest-with-a-key"], indirect=False)
async def test_an_api_key_alone_is_enough(stack):
    listener = await stack.turn("1001", "say signed in")
    assert (listener.text, listener.end.stop_reason) == ("signed in", "end_turn")
    assert stack.session("1001").agent.signed_in_by is not None
