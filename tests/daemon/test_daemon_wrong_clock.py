"""The whole daemon with Discord, on a machine whose clock is wrong, as without a battery or before NTP has set it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.daemon.test_daemon_discord import config
from tests.fakes.daemon import DaemonProcess, Wire
from tests.fakes.discord.server import DiscordServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.discord.people import Author
    from tests.fakes.discord.state import Channel

pytestmark = pytest.mark.service

YEAR = 365.25 * 86_400
AHEAD = {"1970": -time.time(), "30 years ahead": 30 * YEAR, "75 years ahead": 75 * YEAR}


class World:
    """A server with Ada in it, and daemons one after the other on the same state."""

    def __init__(self, server: DiscordServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.guild = server.make_guild("home")
        self.channel = server.make_channel(self.guild, "general")
        self.ada: Author = server.make_user("ada", self.guild)

    async def start(self, ahead: float) -> DaemonProcess:
        """A daemon on a machine whose clock is so many seconds ahead; it is connected."""
        before = self.server.gateway.identifies
        text = config(self.server, self.ada)
        module = "tests.support.wrong_clock_daemon"
        daemon = await asyncio.to_thread(DaemonProcess, self.folder, text, module=module, AHEAD=str(ahead))
        await self.server.wait_for(lambda: self.server.gateway.identifies > before, what="a session")
        return daemon

    def mentions(self, text: str) -> None:
        self.ada.says(self.channel, text, mentions=[self.server.bot])

    async def answers(self, text: str) -> Channel:
        """The thread of the channel in which the bot says this."""

        def found() -> Channel | None:
            return next((one for one in self.threads() if text in self.said(one)), None)

        return await self.server.wait_for(found, seconds=15, what=f"{text!r} of the bot")

    def threads(self) -> list[Channel]:
        return list(self.server.threads_of(self.channel))

    def said(self, thread: Channel) -> list[str]:
        return [one.content for one in self.server.messages_in(thread, by=self.server.bot) if one.content]


def end(daemon: DaemonProcess) -> None:
    """Stop the daemon, which must have stored everything."""
    with Wire(daemon.socket) as wire:
        checks = wire.call("health.get")["checks"]
    assert {"name": "store", "ok": True} in [{"name": one["name"], "ok": one["ok"]} for one in checks]
    assert daemon.stop() == 0
    assert "store_step_failed" not in daemon.log.read_text()


@pytest.fixture
async def world(tmp_path):
    async with DiscordServer(unit=0.01) as server:
        yield World(server, tmp_path / "d")


@pytest.mark.parametrize("ahead", AHEAD.values(), ids=AHEAD)
async def test_what_was_written_while_it_was_away_is_answered_once_and_nothing_before_the_first_start(world, ahead):
    world.server.world.snowflake.ahead = -5.0
    world.mentions("say long ago")
    world.server.world.snowflake.ahead = 0.0
    with await world.start(ahead) as daemon:
        world.mentions("say live")
        thread = await world.answers("live")
        await asyncio.to_thread(end, daemon)
    world.server.world.snowflake.ahead = 5.0
    world.ada.says(thread, "say away")
    world.mentions("say elsewhere")
    with await world.start(ahead) as daemon:
        await world.answers("away")
        other = await world.answers("elsewhere")
        await asyncio.to_thread(end, daemon)
    assert world.threads() == [thread, other]
    assert (world.said(thread), world.said(other)) == (["live", "away"], ["elsewhere"])


async def test_a_position_that_a_wrong_clock_has_stored_is_put_right(world):
    with await world.start(0) as daemon:
        await asyncio.to_thread(end, daemon)
    with closing(sqlite3.connect(world.folder / "state" / "acpbot" / "acpbot.sqlite3")) as database, database:
        database.execute("UPDATE marks SET message_id = ?", (2**63 - 1,))
    with await world.start(0) as daemon:
        await asyncio.to_thread(end, daemon)
        assert "read_position_in_the_future" in daemon.log.read_text()
    world.server.world.snowflake.ahead = 5.0
    world.mentions("say away")
    with await world.start(0) as daemon:
        await world.answers("away")
        await asyncio.to_thread(end, daemon)
