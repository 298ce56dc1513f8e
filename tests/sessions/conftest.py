"""A pool of real demo agents, closed after each test."""

from __future__ import annotations

import pytest

from tests.support.pool import faulty, harnesses


@pytest.fixture
async def make_harness(tmp_path):
    async with harnesses(tmp_path) as make:
        yield make


@pytest.fixture
def faulty_harness(make_harness):
    def make(quirk: str, **limits):
        return make_harness(argv=faulty(quirk), **limits)

    return make


@pytest.fixture
def harness(make_harness):
    return make_harness()
