"""Pods of the loopback Kubernetes: what ends with them, what stays, and what is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.kubernetes import sandbox
from tests.fakes.kubernetes.clock import Clock
from tests.fakes.kubernetes.manifests import claim, pod
from tests.fakes.kubernetes.resources import CLAIMS, PODS
from tests.fakes.kubernetes.server import KubernetesServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no containers: {sandbox.obstacle()}")
WAITS = ("sh", "-c", "setsid sleep 100 & while :; do read line; done")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer(tmp_path, clock=Clock(unit=0.01)) as made:
        yield made


async def test_an_escaped_child_ends_with_its_pod_and_the_claim_stays(server):
    server.create(CLAIMS, "default", claim("home"))
    script = "echo kept > /data/file; " + WAITS[2]
    server.create(PODS, "default", pod("one", "sh", "-c", script, claim="home", container={"stdin": True}))
    await server.wait_running("default", "one")
    container = server.container("default", "one")
    server.delete(PODS, "default", "one", grace=1)
    await server.wait_for(lambda: not server.phase("default", "one"), what="removal")
    assert container.pids() == []
    assert (server.folder("default", "home") / "file").read_text() == "kept\n"


async def test_a_pod_out_of_memory_says_so(server):
    server.create(PODS, "default", pod("one", *WAITS, container={"stdin": True}))
    await server.wait_running("default", "one")
    server.oom_kill("default", "one")
    await server.wait_for(lambda: server.phase("default", "one") == "Failed")
    ended = server.pod("default", "one")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


async def test_on_a_lost_node_the_object_goes_and_the_processes_go_on(server):
    server.create(PODS, "default", pod("one", *WAITS, container={"stdin": True}))
    await server.wait_running("default", "one")
    container = server.container("default", "one")
    server.lose_node()
    server.delete(PODS, "default", "one", grace=0)
    assert server.phase("default", "one") == ""
    assert container.pids() != []


async def test_an_image_that_cannot_be_pulled_is_reported(server):
    server.add_image("tools:1", error="not found")
    server.create(PODS, "default", pod("one", "true"))
    await server.wait_for(lambda: "BackOff" in server.event_reasons("one"))
    assert server.phase("default", "one") == "Pending"
