"""The short forms of what `make load` does for long: nothing is lost, and nothing is left or grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.discord.server import DiscordServer
from tests.support.soak import stream_load, week

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.campaign


async def test_days_in_discord_with_cuts_reloads_and_a_new_token_leave_nothing(tmp_path: Path):
    async with week.week(tmp_path, size=2) as one:
        for _ in range(4):
            await one.day()
        assert one.judge() == []
        assert one.resumed > 8
        assert one.tokens == 1


async def test_sessions_that_stream_through_discord_at_once_lose_nothing(tmp_path: Path):
    async with DiscordServer(unit=0.1) as server:
        load = stream_load.DiscordLoad(server, tmp_path / "d", 8, chunks=30)
        assert await load.run(2) == []


def test_sessions_that_stream_through_the_local_chat_at_once_lose_nothing(tmp_path: Path):
    assert stream_load.local(tmp_path, 8, 2, chunks=30) == []


def test_a_growth_is_named_and_what_may_be_there_by_chance_is_none():
    first = {"rss_kib": 40_000, "fds": 100, "threads": 10}
    assert stream_load.grown([first, {"rss_kib": 44_000, "fds": 128, "threads": 14}], 10) == []
    assert stream_load.grown([first, {"rss_kib": 50_000, "fds": 129, "threads": 9}], 10) == [
        "rss_kib: 40000, then 50000",
        "fds: 100, then 129",
    ]
