"""Real agents below the pool, and a model server of ours below them."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from tests.fakes.model_server import ModelServer
from tests.support.agent_stack import Gate, Stack, running
from tests.support.optional_agents import LOOKS_AROUND, OPTIONAL, chosen
from tests.support.real_agents import AGENTS, installed

MARK: Final = "real_agents"
_LEFT_OUT: Final = pytest.StashKey[Counter[str]]()


def pytest_configure(config):
    config.addinivalue_line("markers", f"{MARK}: runs agents that npm installs; minutes, so only when asked for by -m")

    try:
        chosen()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(config, items):
    left_out = {item: reason for item in items if (reason := _why_not(item, config.option.markexpr))}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    config.stash[_LEFT_OUT] = Counter(left_out.values())


def _why_not(item, markexpr: str) -> str | None:
    """Return why a test is left out; one line says it for all that share it, where skips would take one line each."""
    if item.get_closest_marker(MARK) is None:
        return None
    if MARK not in markexpr:
        return "to run them: make test-agents"
    name = item.callspec.params["agent_name"]
    if installed(name) is None and name in OPTIONAL:
        return f"{name} is not on PATH; install it"
    if installed(name) is None:
        return f"{name} is not installed in {AGENTS}; run: python tests/agents/install.py"
    return None


def pytest_terminal_summary(terminalreporter, config):
    for reason, count in config.stash.get(_LEFT_OUT, Counter()).items():
        terminalreporter.write_line(f"{count} tests with real agents were left out; {reason}")


@pytest.fixture
async def model():
    async with ModelServer() as server:
        yield server


@pytest.fixture(params=["codex", "codex-wrapped", "opencode"])
def agent_name(request):
    return request.param


@pytest.fixture
async def stack(agent_name, tmp_path, model):
    async with Gate() as gate:
        stack = Stack(agent_name, tmp_path, model, gate)
        try:
            yield stack
        finally:
            await stack.close()
        assert running(HOME=str(stack.home)) == [], "everything ends with the daemon"
        assert gate.tried == [], "nothing leaves the machine"
        assert {asked.partition(" ")[2] for asked in model.unknown} <= LOOKS_AROUND.get(agent_name, set())
