"""One launcher of each kind; the tests are the same for both."""

from __future__ import annotations

import pytest

from acpbot.errors import StartError
from acpbot.runtimes.local.runtime import local_runtime
from tests.support.launched_agents import AgentRunner


@pytest.fixture(params=["cgroup", "subreaper"])
async def runner(request, tmp_path):
    try:
        launcher, _ = local_runtime(request.param)
    except StartError as error:
        pytest.skip(str(error))
    runner = AgentRunner(launcher, tmp_path)
    yield runner
    await runner.aclose()


@pytest.fixture
async def subreaper_runner(tmp_path):
    launcher, _ = local_runtime("subreaper")
    runner = AgentRunner(launcher, tmp_path)
    yield runner
    await runner.aclose()


@pytest.fixture
async def cgroup_runner(tmp_path):
    try:
        launcher, _ = local_runtime("cgroup")
    except StartError as error:
        pytest.skip(str(error))
    runner = AgentRunner(launcher, tmp_path)
    yield runner
    await runner.aclose()
