from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import discord
import pytest
from aiohttp import web

from acpbot.chat.discord.gateway import supervisor
from acpbot.chat.discord.permissions import PERMISSIONS
from acpbot.commands.check_online import PORTAL, try_token
from acpbot.config import loader
from tests.fakes.discord import rest
from tests.fakes.discord.server import DiscordServer
from tests.support.coverage_environ import COVERAGE_ENVIRON

if TYPE_CHECKING:
    from acpbot.config.settings import Settings

TOKEN = "a.made-up.token"
AGENT = f'[agent]\ncommand = "{sys.executable}"\nargs = ["-m", "acpbot.demo.agent"]\n'


def text(api_base: str, token: str = TOKEN) -> str:
    return f'[discord]\nbot_token = "{token}"\nallowed_users = ["1"]\napi_base = "{api_base}"\n{AGENT}'


def settings(api_base: str, token: str = TOKEN, **environ: str) -> Settings:
    return loader.parse(text(api_base, token), "/etc/c.toml", {"HOME": "/home/u", **environ})


async def tried(made: Settings, seconds: float = 10.0) -> tuple[bool, str]:
    lines: list[str] = []
    well = await try_token(made, lines.append, seconds=seconds)
    assert all(line.isprintable() for line in lines)
    assert TOKEN not in "".join(lines)
    return well, "\n".join(lines)


async def test_a_good_token_names_the_bot_and_its_invite_link():
    async with DiscordServer() as server:
        server.make_channel(server.make_guild("home"), "general")
        well, output = await tried(settings(server.api_base))
    assert well
    bot = server.bot
    query = f"client_id={bot.id}&scope=bot+applications.commands&permissions=309237746752"
    link = f"https://discord.com/oauth2/authorize?{query}"
    assert output.splitlines() == [
        f"discord: token accepted; the bot is acpbot ({bot.id})",
        "discord: the bot is in home",
        "discord: #general in home: ok",
        f"discord: invite it with {link}",
    ]
    assert [call.status for call in server.requests] == [200] * 6


async def test_a_bot_in_no_server_is_a_problem_with_the_invite_link():
    async with DiscordServer() as server:
        well, output = await tried(settings(server.api_base))
    assert not well
    last = output.splitlines()[-1]
    assert last.startswith("discord: problem: the bot is in no server yet: open the invite link https://discord.com/")


async def test_each_allowed_channel_is_named_with_each_permission_that_is_missing():
    async with DiscordServer() as server:
        guild = server.make_guild("home")
        good, quiet, hidden, other = (server.make_channel(guild, name) for name in ("good", "quiet", "hidden", "other"))
        role = server.make_role(guild, "bots", ["SEND_MESSAGES"])
        server.give_roles(guild, server.bot, [role])
        server.set_permissions(quiet, guild.everyone, deny=["SEND_MESSAGES", "ATTACH_FILES", "CREATE_PUBLIC_THREADS"])
        server.set_permissions(quiet, role, allow=["SEND_MESSAGES"])
        server.set_permissions(hidden, server.bot, deny=["VIEW_CHANNEL"])
        listed = ", ".join(f'"{one.id}"' for one in (good, quiet, hidden))
        made = text(server.api_base).replace("api_base", f'allowed_channels = [{listed}, "99"]\napi_base')
        loaded = loader.parse(made, "/etc/c.toml", {"HOME": "/home/u"})
        well, output = await tried(loaded)
        assert other.name not in output
    assert not well
    assert output.splitlines()[1:-1] == [
        "discord: the bot is in home",
        "discord: #good in home: ok",
        "discord: problem: #quiet in home: the bot lacks Attach Files, Create Public Threads",
        "discord: problem: #hidden in home: the bot lacks View Channels",
        "discord: problem: channel 99 is in none of these servers, or it was deleted",
    ]


async def test_an_allowed_thread_is_looked_up_and_has_the_permissions_of_its_channel():
    async with DiscordServer() as server:
        guild = server.make_guild("home")
        channel = server.make_channel(guild, "general")
        thread = server.make_thread(channel, server.make_user("ada", guild), "release")
        made = text(server.api_base).replace("api_base", f'allowed_channels = ["{thread.id}"]\napi_base')
        loaded = loader.parse(made, "/etc/c.toml", {"HOME": "/home/u"})
        assert (await tried(loaded))[1].splitlines()[2] == "discord: #release in home: ok"
        server.set_permissions(channel, server.bot, deny=["VIEW_CHANNEL"])
        well, output = await tried(loaded)
    assert not well
    assert output.splitlines()[2].endswith("can't see it: give it the permission View Channels")


@pytest.mark.parametrize(("status", "advice"), [(404, "check that the bot is still in it"), (500, "try again later")])
async def test_a_server_that_cannot_be_looked_at_is_a_problem_of_its_own(status, advice):
    async with DiscordServer() as server:
        home, other = server.make_guild("home"), server.make_guild("other")
        server.make_channel(home, "general")
        server.make_channel(other, "chat")
        route = "/guilds/{guild_id}/channels"
        server.faults.status(status, "GET", route, where=lambda call: call.params["guild_id"] == str(home.id))
        well, output = await tried(settings(server.api_base))
    assert not well
    assert output.splitlines()[1:-1] == [
        "discord: the bot is in home, other",
        f"discord: problem: cannot look at the channels of home: Discord answered {status}; {advice}",
        "discord: #chat in other: ok",
    ]


@pytest.mark.parametrize("granted", [("message_content",), ("message_content", "members", "presences")])
async def test_no_other_privileged_intent_is_needed(granted):
    async with DiscordServer(privileged=granted) as server:
        server.make_channel(server.make_guild())
        assert (await tried(settings(server.api_base)))[0]


async def test_a_verified_application_has_the_other_flag():
    async with DiscordServer() as server:
        server.make_channel(server.make_guild())
        server.world.application_flags = 1 << 18
        assert (await tried(settings(server.api_base)))[0]


async def test_a_missing_intent_is_reported_with_the_page_to_set_it():
    async with DiscordServer(privileged=("members", "presences")) as server:
        server.make_channel(server.make_guild())
        well, output = await tried(settings(server.api_base))
    assert not well
    assert "cannot read messages: the application has no Message Content Intent" in output
    assert f"{PORTAL}, Bot, Privileged Gateway Intents" in output
    assert "invite it with" in output


async def test_the_error_for_a_refused_token_names_its_source(tmp_path):
    async with DiscordServer(token="another") as server:
        plain = await tried(settings(server.api_base))
        variable = await tried(settings(server.api_base, "${OURS}", OURS=TOKEN))
        (tmp_path / "token").write_text(TOKEN)
        filed = text(server.api_base).replace(f'bot_token = "{TOKEN}"', f'bot_token_file = "{tmp_path}/token"')
        file = await tried(loader.parse(filed, "/etc/c.toml", {"HOME": "/home/u"}))
    start = "discord: cannot log in: Discord rejects the token in [discord] "
    assert plain == (
        False,
        f"{start}bot_token in /etc/c.toml; make a new one at {PORTAL}, Bot, Reset Token, and put it there",
    )
    assert f"{start}bot_token in /etc/c.toml (environment variable OURS); " in variable[1]
    assert f"{start}bot_token_file, {tmp_path}/token; " in file[1]


async def test_an_unreachable_host_is_reported(unused_tcp_port):
    well, output = await tried(settings(f"http://127.0.0.1:{unused_tcp_port}/api/v10"))
    assert not well
    assert output.startswith(f"discord: cannot reach http://127.0.0.1:{unused_tcp_port}/api/v10: ")
    assert output.endswith("; check the network and [discord] api_base")


async def test_no_answer_within_the_timeout_is_reported():
    async with DiscordServer() as server:
        held = server.faults.hold("GET", rest.ME)
        well, output = await tried(settings(server.api_base), seconds=0.2)
        held.release()
    assert (well, output) == (
        False,
        f"discord: cannot reach {server.api_base}: no answer within 0.2 s; check the network and [discord] api_base",
    )


async def test_an_incomplete_answer_is_reported():
    async with DiscordServer() as server:
        server.faults.abort("GET", rest.APPLICATION, times=2)
        well, output = await tried(settings(server.api_base))
    assert not well
    assert output.startswith(f"discord: cannot reach {server.api_base}: ")


async def test_a_rate_limit_and_a_server_error_say_to_try_again_later():
    async with DiscordServer() as server:
        server.faults.too_many("GET", rest.ME, retry_after=6.5, times=1)
        assert (await tried(settings(server.api_base)))[1].endswith("is limiting requests; try again in 7 s")
        server.faults.status(502, "GET", rest.ME, times=1)
        assert (await tried(settings(server.api_base)))[1].endswith("answered 502; try again later")
        output = (await tried(settings(f"{server.api_base}/elsewhere")))[1]
    assert output.endswith("answered 404; correct [discord] api_base")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"id": "x"}', b"\xff", b"{" * 3_000_000])
async def test_an_answer_that_is_not_from_discord_is_reported(body, unused_tcp_port):
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/users/@me", answer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        well, output = await tried(settings(f"http://127.0.0.1:{unused_tcp_port}"))
    finally:
        await runner.cleanup()
    assert not well
    assert output.endswith("doesn't answer like Discord's API; correct [discord] api_base")


async def test_the_token_is_not_sent_to_a_redirect(unused_tcp_port):
    async def answer(_request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    app = web.Application()
    app.router.add_get("/users/@me", answer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        output = (await tried(settings(f"http://127.0.0.1:{unused_tcp_port}")))[1]
    finally:
        await runner.cleanup()
    assert output.endswith("answered 302; correct [discord] api_base")


async def test_a_password_in_api_base_is_not_shown(unused_tcp_port):
    well, output = await tried(settings(f"http://ada:lovelace@127.0.0.1:{unused_tcp_port}/api"))
    assert not well
    assert "lovelace" not in output
    assert "api_base" in output


@pytest.mark.parametrize(("privileged", "status"), [(("message_content",), 0), ((), 1)])
async def test_the_command_tries_the_agents_and_the_token(tmp_path, privileged, status):
    async with DiscordServer(privileged=privileged) as server:
        server.make_channel(server.make_guild())
        (tmp_path / "config.toml").write_text(text(server.api_base))
        (tmp_path / "config.toml").chmod(0o600)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "acpbot", "check", "--online"),
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), **COVERAGE_ENVIRON},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == status, (out, err)
    assert b"agent default: ok" in out
    assert b"discord: token accepted" in out
    assert (b"no Message Content Intent" in out) is bool(status)
    assert TOKEN.encode() not in out + err


def test_the_permissions_have_the_values_of_discord_py():
    names = {name.lower().replace(" ", "_").replace("view_channels", "view_channel") for name in PERMISSIONS}
    assert discord.Permissions(**dict.fromkeys(names, True)).value == sum(PERMISSIONS.values())


def test_the_portal_url_is_the_same_in_the_daemon():
    assert PORTAL == supervisor.PORTAL
