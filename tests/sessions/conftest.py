"""A pool of real demo agents, closed after each test."""

from __future__ import annotations

import pytest

from tests.support.pool import Harness, faulty


@pytest.fixture
async def make_harness(tmp_path):
    harnesses = []

    def make(**limits):
        harnesses.append(Harness(tmp_path, **limits))
        return harnesses[-1]

    yield make
    for harness in harnesses:
        await harness.pool.close(grace_seconds=0.5)
        await harness.launcher.aclose()


@pytest.fixture
def faulty_harness(make_harness):
    def make(quirk: str, **limits):
        return make_harness(argv=faulty(quirk), **limits)

    return make


@pytest.fixture
def harness(make_harness):
    return make_harness()
