"""One launcher of each kind; the tests are the same for both."""

from __future__ import annotations

import pytest

from acpbot.acp.launcher import choose_launcher
from acpbot.errors import StartError
from tests.acp.rig import Rig


@pytest.fixture(params=["cgroup", "subreaper"])
async def rig(request, tmp_path):
    try:
        launcher, _ = choose_launcher(request.param)
    except StartError as error:
        pytest.skip(str(error))
    rig = Rig(launcher, tmp_path)
    yield rig
    await rig.aclose()


@pytest.fixture
async def subreaper_rig(tmp_path):
    launcher, _ = choose_launcher("subreaper")
    rig = Rig(launcher, tmp_path)
    yield rig
    await rig.aclose()


@pytest.fixture
async def cgroup_rig(tmp_path):
    try:
        launcher, _ = choose_launcher("cgroup")
    except StartError as error:
        pytest.skip(str(error))
    rig = Rig(launcher, tmp_path)
    yield rig
    await rig.aclose()
