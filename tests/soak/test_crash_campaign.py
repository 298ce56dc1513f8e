"""A short crash campaign: the daemon is killed under load and comes back, a few times; `make soak`: 200 times."""

from __future__ import annotations

import pytest

from tests.fakes.discord.server import DiscordServer
from tests.soak.soak_restarts import UNIT
from tests.support.soak.campaign import Campaign

pytestmark = pytest.mark.campaign


@pytest.fixture
async def server():
    async with DiscordServer(unit=UNIT) as server:
        yield server


async def test_without_a_restart_the_same_load_loses_nothing(server, tmp_path):
    async with Campaign(server, tmp_path / "d", seed=1, size=2, reactions=False) as campaign:
        for _ in range(2):
            await campaign.calm()
            assert campaign.findings == []
        await campaign.finish()
    assert campaign.findings == []
    tally = campaign.tally
    assert (tally.kills, tally.stops, tally.notified) == (0, 1, 0)
    assert tally.answered == tally.prompts.total() > 8
    assert server.unserved == []


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_over_restarts(server, tmp_path, seed):
    async with Campaign(server, tmp_path / "d", seed=seed, size=2, reactions=False) as campaign:
        for _ in range(3):
            await campaign.crash()
            assert campaign.findings == []
        await campaign.finish()
    assert campaign.findings == []
    tally = campaign.tally
    print(tally.table())
    ends = tally.kills + tally.stops
    assert ends >= 4
    assert tally.databases == ends
    assert tally.answered + tally.notified - tally.both == tally.prompts.total()
    assert tally.recalls
    assert server.unserved == []
