"""The engines of this machine, as fixtures. Each is started once, and only for tests that need it."""

from __future__ import annotations

import pytest

from tests.support.container_engine import EngineMissing, docker_engine, podman_engine
from tests.support.missing_places import leave_out


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
