"""The places of this machine, as fixtures."""

from __future__ import annotations

import pytest

from tests.runtimes.conformance import places
from tests.runtimes.conformance.scene import Scene, new_word
from tests.support.kubernetes_cluster import ClusterMissing, kubernetes_cluster
from tests.support.missing_places import bubblewrap_lacks, leave_out


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
    missing = bubblewrap_lacks() if place is places.BUBBLEWRAP else None
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
