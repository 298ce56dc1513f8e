"""The places of this machine, as fixtures. An engine is started once, and only for tests that need it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests.runtimes.conformance import places
from tests.runtimes.conformance.scene import Scene, new_word
from tests.support.container_engine import EngineMissing, docker_engine, podman_engine
from tests.support.kubernetes_cluster import ClusterMissing, kubernetes_cluster


def leave_out(name: str, reason: str) -> NoReturn:
    """Skip, or fail where ACPBOT_TEST_RUNTIMES says that this machine has such places."""
    if name in os.environ.get("ACPBOT_TEST_RUNTIMES", "").split():
        pytest.fail(f"no {name} here: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def podman():
    """A Podman of the tests' own."""
    try:
        with podman_engine() as engine:
            yield engine
    except EngineMissing as missing:
        leave_out("podman", str(missing))


@pytest.fixture(scope="session")
def docker(podman):
    """Docker's client on that Podman."""
    try:
        with docker_engine(podman) as engine:
            yield engine
    except EngineMissing as missing:
        leave_out("docker", str(missing))


@pytest.fixture(scope="session")
def kubernetes():
    """A cluster of the tests' own, whose pods are processes of this machine."""
    try:
        with kubernetes_cluster() as cluster:
            yield cluster
    except ClusterMissing as missing:
        leave_out("kubernetes", str(missing))


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.runtimes) if name != "local" else name for name in places.PLACES]
)
def place(request):
    """Each kind of place; skipped where this machine lacks something, which the reason names."""
    place = places.PLACES[request.param]
    if place.engine is not None:
        return place.with_engine(request.getfixturevalue(place.engine).environ)
    missing = places.bubblewrap_lacks() if place is places.BUBBLEWRAP else None
    if missing is not None:
        leave_out(place.name, missing)
    return place


@pytest.fixture
async def scene(place, tmp_path):
    """The place's runtime, with agents that end with the test."""
    async with place.runtime(new_word()) as runtime:
        scene = Scene(place, runtime, tmp_path)
        yield scene
        await scene.aclose()
