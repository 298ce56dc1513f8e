"""The whole daemon on a Discord of the tests: a person in a thread on one side, an operator's shell on the other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from acpbot.chat.discord.inbound.intake import RESTARTING
from acpbot.chat.discord.inbound.recheck import NO_ACCESS
from tests.fakes.daemon import DEMO_AGENT, LIMIT, DaemonProcess
from tests.fakes.discord.server import DiscordServer

pytestmark = pytest.mark.service


@pytest.fixture
async def server():
    async with DiscordServer(unit=0.01) as server:
        yield server


def config(server, ada, **more: object) -> str:
    discord = {
        "bot_token": server.token,
        "allowed_users": [str(ada.id)],
        "api_base": server.api_base,
        "gateway_url": server.gateway_url,
        "footer": False,
        **more,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in discord.items()]
    return "\n".join(["[discord]", *lines, DEMO_AGENT, 'env = { ACPBOT_DEMO_PACE = "0" }', ""])


def acpctl(daemon, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "ACPBOT_SOCKET": str(daemon.socket)}
    argv = [sys.executable, "-m", "acpctl", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False, env=environ)


async def test_a_person_in_discord_and_an_operator_in_a_shell(server, tmp_path):
    guild = server.make_guild("home")
    channel = server.make_channel(guild, "general")
    ada = server.make_user("ada", guild)
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", config(server, ada))
    with daemon:
        await server.wait_until_connected()
        ada.says(channel, "say hello from the daemon", mentions=[server.bot])
        thread = await server.wait_for_thread(channel)
        await server.wait_for_message(thread, lambda message: message.content == "hello from the daemon")

        listed = await asyncio.to_thread(acpctl, daemon, "sessions", "-o", "json")
        (row,) = json.loads(listed.stdout)["sessions"]
        assert (row["thread_id"], row["platform"], row["owner"]) == (str(thread.id), "discord", str(ada.id))
        assert row["title"] == "say hello from the daemon"
        assert row["cwd"].endswith(f"/workspaces/{thread.id}")
        health = json.loads((await asyncio.to_thread(acpctl, daemon, "health", "-o", "json")).stdout)
        assert (health["chat"]["platform"], health["chat"]["connected"], health["ready"]) == ("discord", True, True)

        url = f"https://discord.com/channels/{guild.id}/{thread.id}"
        killed = await asyncio.to_thread(acpctl, daemon, "kill", url, "--yes")
        assert killed.returncode == 0, killed.stderr
        assert "0 processes left" in killed.stdout + killed.stderr
        notice = "An admin stopped this session. Send a message to carry on where you left off."
        await server.wait_for_message(thread, lambda message: message.content == notice)
        ada.says(thread, "say and on we go")
        await server.wait_for_message(thread, lambda message: message.content == "and on we go")
        assert server.rate_limited == []
        assert await asyncio.to_thread(daemon.stop) == 0
    assert "Traceback" not in daemon.log.read_text()
    assert server.token not in daemon.log.read_text()


async def test_an_operator_begins_a_thread_permits_its_tool_and_goes_on_there_from_the_shell(server, tmp_path):
    guild = server.make_guild("home")
    channel = server.make_channel(guild, "general")
    ada = server.make_user("ada", guild)
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", config(server, ada, allow_all_channels=True))
    with daemon:
        await server.wait_until_connected()
        prompt = "tool echo built; say done"
        sent = await asyncio.to_thread(acpctl, daemon, "send", "--channel", f"<#{channel.id}>", prompt, "-o", "json")
        assert sent.returncode == 0, sent.stderr
        thread = await server.wait_for_thread(channel)
        assert json.loads(sent.stdout) == {"thread_id": str(thread.id), "queued": 0}
        (starter,) = server.messages_in(channel, by=server.bot)
        assert starter.content.endswith(f" asks: {prompt}")
        assert starter.content.startswith("An admin (`")

        await server.wait_for_message(thread, lambda message: "Waiting for an admin." in message.content)
        permitted = await asyncio.to_thread(acpctl, daemon, "permit", str(thread.id), "--allow")
        assert permitted.stdout == f"{thread.id}  allow once: echo built\n", permitted.stderr
        await server.wait_for_message(thread, lambda message: message.content.startswith("✅ Allowed once by an admin"))
        await server.wait_for_message(thread, lambda message: "done" in message.content)

        answered = await asyncio.to_thread(acpctl, daemon, "send", str(thread.id), "say more", "--wait")
        assert (answered.returncode, answered.stdout) == (0, "more\n"), answered.stderr
        await server.wait_for_message(thread, lambda message: message.content == "An admin asks: say more")
        await server.wait_for_message(thread, lambda message: message.content == "more")
        ada.says(thread, "say and I go on")
        await server.wait_for_message(thread, lambda message: message.content == "and I go on")
        assert server.rate_limited == []
        assert await asyncio.to_thread(daemon.stop) == 0
    assert "Traceback" not in daemon.log.read_text()


async def test_the_daemon_serves_while_discord_is_away(server, tmp_path):
    guild = server.make_guild("home")
    ada = server.make_user("ada", guild)
    text = config(server, ada)
    await server.stop()
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", text)
    with daemon:
        health = await asyncio.to_thread(acpctl, daemon, "health", "-o", "json")
        assert (health.returncode, json.loads(health.stdout)["chat"]["connected"]) == (3, False)
        assert await asyncio.to_thread(daemon.stop) == 0


async def test_a_reload_changes_who_may_talk(server, tmp_path):
    guild = server.make_guild("home")
    channel = server.make_channel(guild, "general")
    ada, eve = server.make_user("ada", guild), server.make_user("eve", guild)
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", config(server, ada))
    with daemon:
        await server.wait_until_connected()
        denied = eve.says(channel, "say no", mentions=[server.bot])
        await server.wait_for(lambda: denied.shown_reactions == ["🚫"])
        daemon.config.write_text(config(server, eve, bot_token="another.token.entirely-another"))
        daemon.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(daemon.wait_for, b"RELOADING=1")
        await asyncio.to_thread(daemon.wait_for, b"READY=1")
        eve.says(channel, "say welcome", mentions=[server.bot])
        thread = await server.wait_for_thread(channel)
        await server.wait_for_message(thread, lambda message: message.content == "welcome")
        health = json.loads((await asyncio.to_thread(acpctl, daemon, "health", "-o", "json")).stdout)
        reason = "a restart is needed for [discord] bot_token"
        assert {"name": "config", "ok": False, "reason": reason} in health["checks"]
        assert health["ready"] is True
        assert await asyncio.to_thread(daemon.stop) == 0
    assert "another.token" not in daemon.log.read_text()


async def test_a_running_turn_ends_before_the_stop_and_later_messages_wait_for_the_restart(server, tmp_path):
    guild = server.make_guild("home")
    channel = server.make_channel(guild, "general")
    ada = server.make_user("ada", guild)
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", config(server, ada))
    with daemon:
        await server.wait_until_connected()
        ada.says(channel, "tool echo hi; say to the end", mentions=[server.bot])
        thread = await server.wait_for_thread(channel)
        question = await server.wait_for_message(thread, lambda message: message.asks)
        daemon.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(daemon.wait_for, b"STOPPING=1")
        late = ada.says(thread, "say not too late")
        await server.wait_for(lambda: late.shown_reactions == ["👀"])
        ada.clicks(question, label="Allow")
        assert await asyncio.to_thread(daemon.process.wait, LIMIT) == 0
    answers = "\n".join(message.content for message in server.messages_in(thread, by=server.bot))
    assert "to the end" in answers
    assert answers.count("I'm restarting") == answers.count(RESTARTING) == 1
    assert "not too late" not in answers
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", config(server, ada))
    with daemon:
        await server.wait_for_message(thread, lambda message: message.content == "not too late")
        assert await asyncio.to_thread(daemon.stop) == 0


async def test_messages_of_a_person_who_is_taken_out_do_not_run_after_a_restart(server, tmp_path):
    guild = server.make_guild("home")
    channel = server.make_channel(guild, "general")
    ada, eve = server.make_user("ada", guild), server.make_user("eve", guild)
    both = config(server, ada, allowed_users=[str(ada.id), str(eve.id)]) + "[shutdown]\ndrain_seconds = 0\n"
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", both)
    with daemon:
        await server.wait_until_connected()
        ada.says(channel, "say first; stall 60", mentions=[server.bot])
        thread = await server.wait_for_thread(channel)
        await server.wait_for_message(thread, lambda message: message.content == "first")
        for who, text in ((eve, "say one of eve"), (eve, "say two of eve"), (ada, "say ada goes on")):
            who.says(thread, text)
        await server.wait_for_message(thread, lambda message: "3 ahead of you" in message.content)
        assert await asyncio.to_thread(daemon.stop) == 0
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", config(server, ada))
    with daemon:
        await server.wait_for_message(thread, lambda message: message.content == "ada goes on")
        answers = [message.content for message in server.messages_in(thread, by=server.bot)]
        assert await asyncio.to_thread(daemon.stop) == 0
    assert sum(NO_ACCESS in answer for answer in answers) == 2
    assert not any("of eve" in answer for answer in answers)


async def test_a_refused_token_ends_the_daemon_with_exit_code_78(server, tmp_path):
    guild = server.make_guild("home")
    ada = server.make_user("ada", guild)
    text = config(server, ada, bot_token="wrong.token.entirely-wrong")
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", text, ready=False)
    with daemon:
        assert await asyncio.to_thread(daemon.process.wait, LIMIT) == 78
        log = daemon.log.read_text()
    assert "cannot log in to Discord" in log
    assert "wrong.token" not in log
    assert "Traceback" not in log
