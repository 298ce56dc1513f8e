"""What a packaged daemon must do however it is started: answer a person in Discord, and an operator's shell."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fakes.discord.server import DiscordServer

LIMIT: Final = 20.0
SECRETS: Final = {"acpbot.discord-token": "a.made-up.token"}
"""What is in a credential store, by name: the token that the loopback server takes."""


class Home:
    """A guild with a channel and a person on the loopback server."""

    def __init__(self, server: DiscordServer) -> None:
        self.server = server
        self.guild = server.make_guild("home")
        self.channel = server.make_channel(self.guild, "general")
        self.ada = server.make_user("ada", self.guild)

    def configuration(self, python: str, more: str = "") -> str:
        """A configuration whose token is a systemd credential; the agents are run by ``python``."""
        return f"""
[discord]
bot_token_file = "discord-token"
allowed_users = ["{self.ada.id}"]
api_base = {json.dumps(self.server.api_base)}
gateway_url = {json.dumps(self.server.gateway_url)}

[agent]
command = {json.dumps(python)}
args = ["-m", "acpbot.demo.agent"]
env = {{ ACPBOT_DEMO_PACE = "0" }}

{more}
"""

    async def is_served(self, acpctl: Callable[..., dict]) -> dict:
        """Ada gets an answer; the row of her session, which stays open, from acpctl."""
        await self.server.wait_until_connected()
        self.ada.says(self.channel, "say at your service", mentions=[self.server.bot])
        thread = await self.server.wait_for_thread(self.channel)
        await self.server.wait_for_message(thread, lambda message: message.content == "at your service")
        (row,) = (await asyncio.to_thread(acpctl, "sessions"))["sessions"]
        assert (row["thread_id"], row["owner"], row["alive"]) == (str(thread.id), str(self.ada.id), True)
        health = await asyncio.to_thread(acpctl, "health")
        assert (health["ready"], health["chat"]["connected"]) == (True, True)
        return row


def acpctl_at(socket: Path) -> Callable[..., dict]:
    """Ask acpctl, from outside of the service, for JSON."""

    def ask(*words: str) -> dict:
        argv = [sys.executable, "-m", "acpctl", "--socket", str(socket), *words, "-o", "json"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask
