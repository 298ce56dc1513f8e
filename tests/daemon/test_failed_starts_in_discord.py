"""An agent that can't start, seen from a thread in Discord: people read of it once, and the log says why."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from acpbot.errors import AgentStartError
from tests.fakes.daemon import DaemonProcess
from tests.fakes.discord.server import DiscordServer
from tests.support.pool import faulty

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.service


@pytest.fixture
async def server():
    async with DiscordServer(unit=0.01) as server:
        yield server


async def said_in_thread(server: DiscordServer, folder: Path, quirk: str, words: str) -> list[str]:
    """The bot's messages in the thread of somebody who has asked twice, once one of them holds ``words``."""
    guild = server.make_guild("home")
    channel = server.make_channel(guild, "general")
    ada = server.make_user("ada", guild)
    command, *args = faulty(quirk)
    config = f"""
[discord]
bot_token = "{server.token}"
allowed_users = ["{ada.id}"]
api_base = "{server.api_base}"
gateway_url = "{server.gateway_url}"

[agent]
command = "{command}"
args = {json.dumps(args)}
"""
    daemon = await asyncio.to_thread(DaemonProcess, folder / "d", config)
    with daemon:
        await server.wait_until_connected()
        ada.says(channel, "hello", mentions=[server.bot])
        thread = await server.wait_for_thread(channel)
        await server.wait_for_message(thread, lambda message: words in message.content)
        # Delivered in order: what the stop of the daemon flushes comes after all that was posted before.
        assert await asyncio.to_thread(daemon.stop) == 0
        return [message.content for message in thread.messages.values() if message.author.id == server.bot.id]


@pytest.mark.parametrize(
    ("quirk", "words"),
    [
        ("refuses 400 session/new", "it said no"),
        ("dies born", "it broke"),
    ],
)
async def test_a_failed_start_is_posted_once_and_its_reason_is_in_the_log(server, tmp_path, quirk, words):
    said = await said_in_thread(server, tmp_path, quirk, AgentStartError.for_people)
    assert said == [f"{AgentStartError.for_people} Send a message to try again."]
    assert words in (tmp_path / "d" / "daemon.log").read_text()


async def test_an_agent_that_is_not_signed_in_is_one_friendly_sentence(server, tmp_path):
    sentence = "The agent isn't signed in. Ask your admin."
    said = await said_in_thread(server, tmp_path, "refuses -32000 session/new", "signed in")
    assert said == [sentence]
