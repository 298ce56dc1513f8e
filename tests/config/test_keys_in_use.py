"""Each key that a configuration can hold is read by the running daemon: none is accepted and then ignored.

The keys of [agent], [pool], [permissions] and [store] are in the tests of the sessions, and those of the places where
agents run in tests/runtimes: these show their effects.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from tests.fakes.agents import tool_kinds
from tests.fakes.daemon import DaemonProcess
from tests.fakes.discord.server import DiscordServer
from tests.support.configs import all_keys

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.discord.people import Author
    from tests.fakes.discord.state import Channel, User

ELSEWHERE = {"agent", "agent.bubblewrap", "agent.container", "agent.kubernetes", "pool", "permissions", "store"}
# Read while the configuration is loaded: test_config.py and test_paths.py show their effects. default_agent is a field
# of no table: the test below shows its effect.
LOADER_ONLY = {("discord", "bot_token_file"), ("management", "socket"), ("", "default_agent")}
# Read by methods of the settings: tests/chat/discord/test_bound_channels.py shows their effects.
LOADER_ONLY |= {("discord.channels.ID", key) for key in ("agent", "mode")}
# The daemon reads bind by the properties that split it.
READ_AS = {("management.probes", "host"): ("management.probes", "bind")}


def configuration(  # noqa: PLR0917 - what a configuration names
    server: DiscordServer, channel: Channel, bound: Channel, people: tuple[Author, ...], bot: User, port: int
) -> str:
    return f"""
[discord]
bot_token = "{server.token}"
allowed_users = [{", ".join(f'"{person.id}"' for person in people)}]
allowed_channels = ["{channel.id}"]
allow_bot_messages = "all"
trusted_bot_ids = ["{bot.id}"]
allow_dm = true
api_base = "{server.api_base}"
gateway_url = "{server.gateway_url}"

[discord.channels."{bound.id}"]
agent = "default"
working_dir = "/"
mode = "ask"
allowed_users = [{", ".join(f'"{person.id}"' for person in people)}]
allowed_role_ids = []

[agent]
command = "{sys.executable}"
args = ["{tool_kinds.__file__}"]
env = {{ ACPBOT_DEMO_PACE = "0", PYTHONPATH = "{":".join(path for path in sys.path if path)}" }}

[management.probes]
enabled = true
bind = "127.0.0.1:{port}"
metrics = true

[reactions]
remove_after_reply = true

[reactions.timing]
debounce_ms = 0
stall_soft_ms = 100
stall_hard_ms = 200
done_hold_ms = 0
error_hold_ms = 0

[shutdown]
drain_seconds = 1
"""


def status_of(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a loopback address
        return int(answer.status)


async def reads_of_a_busy_daemon(tmp_path: Path, port: int) -> set[tuple[str, str]]:
    """What a daemon reads while people, a bot and an operator use it."""
    async with DiscordServer(unit=0.01) as server:
        guild = server.make_guild("home")
        channel, bound = (server.make_channel(guild, name) for name in ("general", "project"))
        ada, bob, eve = (server.make_user(name, guild) for name in ("ada", "bob", "eve"))
        robot = server.make_webhook("robot")
        record = tmp_path / "reads.json"
        daemon = await asyncio.to_thread(
            DaemonProcess,
            tmp_path / "d",
            configuration(server, channel, bound, (ada, bob), robot, port),
            module="tests.support.recording_daemon",
            RECORD=str(record),
            PYTHONPATH=":".join(path for path in sys.path if path),
        )
        with daemon:
            await server.wait_until_connected()
            eve.says(channel, "say not for me", mentions=[server.bot])
            bob.says(bound, "say in the project", mentions=[server.bot])
            ada.says(
                channel, "say | a | b |\n|---|---|\n| 1 | 2 |", mentions=[server.bot], attachments={"a.txt": "text"}
            )
            thread = await server.wait_for_thread(channel)
            for text in ("edit", "kind fetch", "kind other", "error", "stall 0.4; say slow"):
                ada.says(thread, text, mentions=[server.bot])
            ada.says(thread, "say without a mention")
            server.webhook_says(robot, thread, "say beep")
            await server.wait_for_message(thread, lambda message: "beep" in message.content)
            ada.says(thread, "tool echo hello", mentions=[server.bot])
            question = await server.wait_for_message(thread, lambda message: message.asks)
            for person in (eve, bob, ada):
                person.clicks(question, question.buttons[0]["custom_id"])
            await server.wait_for_message(thread, lambda message: "The command completed" in message.content)
            assert await asyncio.to_thread(status_of, f"http://127.0.0.1:{port}/readyz") == HTTPStatus.OK
            assert await asyncio.to_thread(status_of, f"http://127.0.0.1:{port}/metrics") == HTTPStatus.OK
            assert await asyncio.to_thread(daemon.stop) == 0, daemon.log.read_text()
        return {READ_AS.get((table, key), (table, key)) for table, key in json.loads(record.read_text())}


@pytest.mark.timeout(120)
async def test_the_daemon_reads_every_key(tmp_path: Path, unused_tcp_port: int):
    keys = {(table, key) for table, key in all_keys() if table not in ELSEWHERE} - LOADER_ONLY
    assert len(keys) > 40
    assert keys - await reads_of_a_busy_daemon(tmp_path, unused_tcp_port) == set()


def test_default_agent_decides_which_agent_a_thread_gets(tmp_path: Path):
    demo = f'command = "{sys.executable}"\nargs = ["-m", "acpbot.demo.agent"]\n'
    agents = f"[agents.one]\n{demo}[agents.two]\n{demo}"
    for name in ("one", "two"):
        with DaemonProcess(tmp_path / name, f'default_agent = "{name}"\n{agents}') as daemon, daemon.wire() as wire:
            wire.call("chat.open", thread="t")
            (row,) = wire.call("sessions.list")["sessions"]
            assert row["agent"] == name
