"""A loopback cluster for each test, with pods that are real processes."""

from __future__ import annotations

import pytest

from tests.fakes.kubernetes import sandbox
from tests.fakes.kubernetes.clock import Clock
from tests.fakes.kubernetes.server import KubernetesServer
from tests.runtimes.kubernetes.daemons import Cluster
from tests.runtimes.kubernetes.plain_pods import PlainPods


@pytest.fixture
async def server(tmp_path, request):
    """The newest version, or the minor one that the test is parametrized with."""
    if sandbox.obstacle():
        pytest.skip(f"no containers: {sandbox.obstacle()}")
    async with KubernetesServer(tmp_path, clock=Clock(unit=0.01), minor=getattr(request, "param", 32)) as made:
        yield made


@pytest.fixture
async def pods(server):
    made = PlainPods(server)
    yield made
    await made.aclose()


@pytest.fixture
async def cluster(server):
    """Daemons with agents in pods."""
    made = Cluster(server)
    yield made
    await made.aclose()
