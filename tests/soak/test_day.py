"""The recorded day, in CI: nothing may be wrong with it. `make day` prints it."""

from __future__ import annotations

import pytest

from tests.support.soak.day_run import record

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(400)]


async def test_a_day_in_discord_loses_nothing_and_reads_well(tmp_path):
    day = await record(tmp_path / "d")
    print("\n\n".join(day.pages))
    assert day.findings == []
    assert len(day.prompts) > 60
