"""One launcher of each kind; the tests are the same for both."""

from __future__ import annotations

import pytest

from acpbot.errors import StartError
from acpbot.runtimes.local.launcher import choose_launcher
from tests.support.launched_agents import AgentRunner


@pytest.fixture(params=["cgroup", "subreaper"])
async def runner(request, tmp_path):
    try:
        launcher, _ = choose_launcher(request.param)
    except StartError as error:
        pytest.skip(str(error))
    runner = AgentRunner(launcher, tmp_path)
    yield runner
    await runner.aclose()


@pytest.fixture
async def subreaper_runner(tmp_path):
    launcher, _ = choose_launcher("subreaper")
    runner = AgentRunner(launcher, tmp_path)
    yield runner
    await runner.aclose()


@pytest.fixture
async def cgroup_runner(tmp_path):
    try:
        launcher, _ = choose_launcher("cgroup")
    except StartError as error:
        pytest.skip(str(error))
    runner = AgentRunner(launcher, tmp_path)
    yield runner
    await runner.aclose()
