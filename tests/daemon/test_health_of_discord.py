"""What keeps the bot from its work in Discord, as `acpctl health` and `acpctl doctor` show it to an operator."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess
from tests.fakes.discord import errors, rest
from tests.fakes.discord.server import DiscordServer
from tests.support.acpctl import ACPCTL

pytestmark = pytest.mark.service


async def test_health_and_doctor_name_refused_commands_and_a_channel_without_a_permission(tmp_path):
    async with DiscordServer() as server:
        guild = server.make_guild("home")
        server.set_permissions(server.make_channel(guild, "general"), guild.everyone, deny=["ATTACH_FILES"])
        refusal = errors.entry_point_missing().body()
        server.faults.status(400, "PUT", rest.COMMANDS, body=refusal, times=1 << 30)
        config = (
            f'[discord]\nbot_token = "{server.token}"\nallow_all_users = true\nallow_all_channels = true\n'
            f'api_base = "{server.api_base}"\ngateway_url = "{server.gateway_url}"\n{DEMO_AGENT}'
        )
        daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", config)
        try:
            await server.wait_for_request("PUT", rest.COMMANDS, 2)
            await asyncio.to_thread(wait_until_known, daemon)
            shown = [await asyncio.to_thread(run, daemon, command) for command in ("health", "doctor")]
        finally:
            daemon.close()
    for text in shown:
        assert "#general in home: the bot lacks Attach Files" in text
        assert "Discord refuses the slash commands: 400 You cannot remove this app's Entry Point command" in text


def wait_until_known(daemon: DaemonProcess) -> None:
    """Wait until the daemon has taken in what Discord has answered."""
    with daemon.wire() as wire:
        while all(check["ok"] for check in wire.call("health.get")["checks"] if check["name"] == "commands"):
            pass


def run(daemon: DaemonProcess, command: str) -> str:
    words = [str(ACPCTL), "--socket", str(daemon.socket), command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    return " ".join(done.stdout.split())
