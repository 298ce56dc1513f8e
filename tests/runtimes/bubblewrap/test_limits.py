"""Limits of a sandbox: they are those of its session's cgroup, which holds all of it; what can't be held is said."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from acpbot.errors import StartError
from acpbot.runtimes.local.cgroup import locate
from acpbot.runtimes.local.runtime import local_runtime
from tests.runtimes.bubblewrap.test_runtime import Sandboxes
from tests.support.launched_agents import Sink
from tests.support.missing_places import bubblewrap_lacks, leave_out

pytestmark = pytest.mark.runtimes

LIMITS = {"memory_max": 512 * 1024 * 1024, "pids_max": 64}


AGENT = """
import os, sys
if not os.fork():
    os.setsid()
    sys.stdin.readline()
print("up")
sys.stdin.readline()
"""


def cgroup_of(pid: int) -> Path:
    return locate(Path("/proc/self/mountinfo").read_text(), Path(f"/proc/{pid}/cgroup").read_text())


@pytest.fixture(params=["cgroup", "subreaper"])
async def limited(request, tmp_path):
    """An agent with both limits in a sandbox, and how its session is contained."""
    if (missing := bubblewrap_lacks()) is not None:
        leave_out("bubblewrap", missing)
    sandboxes = Sandboxes(tmp_path)
    await sandboxes.local.aclose()
    try:
        local, _ = local_runtime(request.param, environ={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    except StartError as error:
        pytest.skip(str(error))
    sandboxes.use(local)
    sink = Sink()
    spec = replace(sandboxes.spec(AGENT), memory_max=LIMITS["memory_max"], pids_max=LIMITS["pids_max"])
    process = await sandboxes.runtime.launch(spec, sink)
    assert await sink.line() == "up"
    yield process, request.param
    await process.aclose()
    await local.aclose()


async def test_each_limit_is_in_force_for_the_whole_sandbox_or_the_session_says_why(limited):
    process, containment = limited
    not_held = {one.limit: one.reason for one in process.limits_not_held}
    if containment == "subreaper":
        assert not_held == dict.fromkeys(LIMITS, "agents run without a cgroup here")
        return
    folders = await asyncio.to_thread(lambda look: {cgroup_of(info.pid) for info in look}, await process.look())
    (folder,) = folders
    assert folder.name == process.session_id, "bwrap, the agent and what that starts are in the session's cgroup"
    for limit, value in LIMITS.items():
        file = folder / f"{limit.removesuffix('_max')}.max"
        assert (limit in not_held) != file.exists()
        if file.exists():
            assert int(file.read_text()) == value
        else:
            assert limit.removesuffix("_max") in not_held[limit]


async def test_nothing_in_a_sandbox_can_leave_its_cgroup(limited):
    """It sees no cgroup that it could write itself into."""
    process, containment = limited
    if containment == "subreaper":
        pytest.skip("there is no cgroup")
    main = next(info.pid for info in await process.look() if info.is_main)
    mounts = await asyncio.to_thread(Path(f"/proc/{main}/mountinfo").read_text)
    assert " cgroup" not in mounts.replace("/cgroup", "")
    assert not await asyncio.to_thread(Path(f"/proc/{main}/root/sys/fs/cgroup").exists)
