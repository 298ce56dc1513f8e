"""The scene of the tests that need a Discord."""

from __future__ import annotations

import pytest

from tests.support.discord_scene import staged


@pytest.fixture
async def scene(tmp_path):
    async with staged(tmp_path) as made:
        yield made
