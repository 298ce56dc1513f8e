"""Real agents in bubblewrap, below a whole daemon: a tool, a permission, a kill, and a conversation that goes on."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.agents.test_real_agents_daemon import converse
from tests.fakes.daemon import DaemonProcess
from tests.support.agent_stack import Gate, running
from tests.support.real_agents import configuration, recipe

pytestmark = pytest.mark.real_agents


@pytest.fixture
async def daemon(agent_name, tmp_path, model):
    home = tmp_path / "home"
    async with Gate() as gate:
        config = configuration(*recipe(agent_name, home, model.base_url, gate.url))
        config = config.replace("[agent]\n", '[agent]\nruntime = "bubblewrap"\n', 1)
        config += f"\n[agent.bubblewrap]\nwritable = [{json.dumps(str(home))}]\n"
        with DaemonProcess(tmp_path / "d", config) as process:
            yield process
            await asyncio.to_thread(process.stop)
        assert running(HOME=str(home)) == []


async def test_a_whole_conversation_in_a_sandbox(daemon):
    await asyncio.to_thread(converse, daemon)
    with daemon.wire() as wire:
        tree = wire.call("sessions.get", thread="t")["session"]["process_tree"]
    assert "bwrap" in tree[0]["command"]
