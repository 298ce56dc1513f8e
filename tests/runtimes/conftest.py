"""The engines and places of this machine, as fixtures. An engine is started once, and only for tests that need it."""

from __future__ import annotations

import pytest

from tests.support.container_engine import EngineMissing, docker_engine, podman_engine
from tests.support.daemons_in_places import placed_demo
from tests.support.missing_places import bubblewrap_lacks, leave_out

SECONDS = 240


def pytest_collection_modifyitems(items):
    """The first test that needs an engine starts it too, which takes a minute where others use the machine."""
    for item in items:
        if item.get_closest_marker("runtimes") is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


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


@pytest.fixture(params=["bubblewrap", "podman", "docker"])
def placed(request):
    """The demo agent in each place that is not this machine as it is."""
    if request.param != "bubblewrap":
        return placed_demo(request.param, request.getfixturevalue(request.param))
    missing = bubblewrap_lacks()
    if missing is not None:
        leave_out("bubblewrap", missing)
    return placed_demo("bubblewrap", None)
