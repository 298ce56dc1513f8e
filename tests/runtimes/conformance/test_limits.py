"""Limits: each one holds, or the session says that it does not, and why."""

from __future__ import annotations

import pytest

from acpbot.errors import AgentGone

MIB = 1024 * 1024


def held(agent, limit):
    """Skip where the place says that it does not hold this limit; it must say why."""
    for one in agent.process.limits_not_held:
        assert one.reason
        if one.limit == limit:
            pytest.skip(str(one))


async def test_an_agent_without_limits_has_none_to_report(scene):
    assert (await scene.start()).process.limits_not_held == ()


async def test_the_number_of_processes_is_limited_or_it_is_said(scene):
    agent = await scene.start(pids_max=24)
    assert await agent.ask("echo 1") == "echo 1"
    held(agent, "pids_max")
    assert 0 < int(await agent.ask("forks 200")) < 24
    assert await agent.ask("echo 2") == "echo 2"


async def test_the_memory_is_limited_or_it_is_said(scene):
    agent, other = await scene.start(memory_max=64 * MIB), await scene.start()
    assert await agent.ask(f"eat {16 * MIB}") == str(16 * MIB)
    held(agent, "memory_max")
    agent.process.write(b"eat %d\n" % (512 * MIB))
    assert await agent.ended() != 0
    reason = agent.process.end_reason or ""
    assert "memory" in reason or "OOM" in reason, "the reason is more than a signal"
    with pytest.raises(AgentGone):
        agent.process.write(b"echo 1\n")
    assert await other.ask("echo 1") == "echo 1"
