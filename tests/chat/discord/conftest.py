"""The scene of the tests that need a Discord."""

from __future__ import annotations

import pytest

from tests.chat.discord.scene import staged


@pytest.fixture
async def scene(tmp_path):
    async with staged(tmp_path) as made:
        yield made
