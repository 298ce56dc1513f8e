"""A daemon starts from the database and the configuration of acpbot 0.1.0, and the threads go on.

version_0_1_0/ holds what the code of 0.1.0 itself has written. It was killed while a turn ran, a message waited and an
answer was not delivered. It is the database as SQL, the sessions of the demo agent, and a configuration with every key.
"""

from __future__ import annotations

import asyncio
import grp
import json
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from acpbot.chat.conversation import INTERRUPTED
from acpbot.config import loader
from acpbot.storage.store import APPLICATION_ID, MIGRATIONS
from tests.daemon.test_daemon_discord import acpctl
from tests.fakes.daemon import DaemonProcess
from tests.fakes.discord.server import DiscordServer

OLD = Path(__file__).with_name("version_0_1_0")
GROUP = grp.getgrgid(os.getgid()).gr_name
# The schema of 0.1.0, and the one before it: the SQL that takes it back to that.
AS_OF = {2: "", 1: "ALTER TABLE posts DROP COLUMN sent; PRAGMA user_version = 1;"}


def filled_in(file: str, names: dict[str, object]) -> str:
    text = (OLD / file).read_text()
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


class OldPlace:
    """Discord and the folder of the daemon as 0.1.0 left them."""

    def __init__(self, server: DiscordServer, folder: Path, port: int, schema: int) -> None:
        self.server = server
        self.folder = folder
        guild = server.make_guild("home")
        channel = server.make_channel(guild, "general")
        self.ada = server.make_user("ada", guild)
        self.names: dict[str, object] = {"read": server.world.snowflake(), "ada": self.ada.id, "channel": channel.id}
        mention = f"<@{server.bot.id}>"
        self.door, self.gone = (
            server.make_thread(channel, server.bot, text, from_message=self.ada.says(channel, f"{mention} {text}"))
            for text in ("remember the blue door", "say unsent is next")
        )
        server.world.post(self.door, server.bot, "I keep: the blue door")
        server.world.post(self.gone, server.bot, "unsent is next")
        written = {
            "running": self.ada.says(self.door, "say half of it; sleep 60"),
            "half": server.world.post(self.door, server.bot, "🔧 `sleep 60`\nhalf of it"),
            "waits": self.ada.says(self.door, "recall"),
            "note": server.world.post(self.door, server.bot, "👀 Queued: 1 message is before this one."),
            "asked": self.ada.says(self.gone, "say an answer that was not delivered"),
        }
        self.names |= {"door": self.door.id, "gone": self.gone.id, **{name: one.id for name, one in written.items()}}
        self.names |= {"api_base": server.api_base, "gateway_url": server.gateway_url, "port": port}
        self.names |= {"folder": folder, "python": sys.executable, "group": GROUP}
        self.database = folder / "state" / "acpbot" / "acpbot.sqlite3"
        self._write_database(schema)
        for name, thread in (("door", self.door.id), ("gone", self.gone.id), ("notes", "notes")):
            text = filled_in(f"{name}.json", self.names)
            sessions = folder / "workspaces" / str(thread) / ".demo-agent"
            sessions.mkdir(parents=True)
            (sessions / f"{json.loads(text)['session_id']}.json").write_text(text)
        self.config = filled_in("config.toml", self.names)

    def _write_database(self, schema: int) -> None:
        self.database.parent.mkdir(parents=True)
        with sqlite3.connect(self.database) as connection:
            connection.executescript(filled_in("store.sql", self.names) + AS_OF[schema])
            connection.execute("UPDATE threads SET used_at = ?", (time.time(),))
            connection.execute("UPDATE posts SET created_at = ?", (time.time(),))
            assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        connection.close()

    async def reads(self, thread, text: str, *, after: str = "read") -> None:
        """Wait for a message of the bot that has this text, after the one with that name."""

        def found(message) -> bool:
            return message.id > self.names[after] and message.author is self.server.bot and text in message.content

        await self.server.wait_for_message(thread, found)

    def schema(self) -> int:
        with sqlite3.connect(self.database) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.close()
        return version


@pytest.mark.service
@pytest.mark.parametrize("schema", AS_OF)
async def test_threads_turns_and_answers_of_0_1_0_go_on(tmp_path, unused_tcp_port, schema):
    async with DiscordServer(unit=0.01) as server:
        old = OldPlace(server, tmp_path / "d", unused_tcp_port, schema)
        daemon = await asyncio.to_thread(DaemonProcess, old.folder, old.config, DISCORD_BOT_TOKEN=server.token)
        with daemon:
            await old.reads(old.gone, "an answer that was not delivered")
            await old.reads(old.door, INTERRUPTED)
            # The message that waited is answered by the conversation of then, resumed.
            await old.reads(old.door, "the blue door", after="asked")
            old.ada.says(old.gone, "say the thread goes on")
            await old.reads(old.gone, "the thread goes on")

            listed = await asyncio.to_thread(acpctl, daemon, "sessions", "--all", "-o", "json")
            rows = {row["thread_id"]: row for row in json.loads(listed.stdout)["sessions"]}
            assert set(rows) == {str(old.door.id), str(old.gone.id), "notes"}
            assert {row["acp_session_id"] for row in rows.values()} == {
                json.loads(filled_in(f"{name}.json", {}))["session_id"] for name in ("door", "gone", "notes")
            }
            assert rows[str(old.door.id)]["mode"] == "auto", "what a person has chosen"
            assert rows["notes"]["state"] == "suspended"
            shown = await asyncio.to_thread(acpctl, daemon, "sessions", "--all")
            assert all(title in shown.stdout for title in ("remember the blue door", "remember the green gate"))
            audit = await asyncio.to_thread(acpctl, daemon, "audit")
            assert audit.stdout.count("sessions.kill") == 2

            answer = await asyncio.to_thread(acpctl, daemon, "send", "notes", "recall", "--wait")
            assert "the green gate" in answer.stdout
            assert await asyncio.to_thread(daemon.stop) == 0
        assert old.schema() == len(MIGRATIONS)
        assert "Traceback" not in daemon.log.read_text()


@pytest.mark.parametrize("token", ['bot_token = "${DISCORD_BOT_TOKEN}"', 'bot_token_file = "discord-token"'])
def test_a_configuration_with_every_key_of_0_1_0_is_valid_without_warnings(tmp_path, token):
    (tmp_path / "discord-token").write_text("a.made-up.token")
    (tmp_path / "discord-token").chmod(0o600)
    names = {"ada": "234567890123456789", "channel": "345678901234567890", "port": 8090, "folder": tmp_path}
    addresses = {"api_base": "https://proxy.example/api/v10", "gateway_url": "wss://gateway.example"}
    text = filled_in("config.toml", {**names, **addresses, "python": sys.executable, "group": GROUP})
    text = text.replace('bot_token = "${DISCORD_BOT_TOKEN}"', token)
    environ = {"HOME": str(tmp_path), "DISCORD_BOT_TOKEN": "a.made-up.token"}
    settings = loader.parse(text, str(tmp_path / "config.toml"), environ)
    assert set(settings.agents) == {"default", "claude"}
