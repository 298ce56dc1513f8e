"""Where the bot can work, which permissions it lacks there, and what people and operators are told of it."""

from __future__ import annotations

import discord
import pytest

from acpbot.chat.discord import permissions
from acpbot.chat.discord.discord_platform import undelivered_text
from acpbot.chat.discord.outbound.rest import RequestRefused, Unreachable
from acpbot.chat.discord.outbound.threads import not_opened_text
from acpbot.chat.discord.permissions import PERMISSIONS, Place, Server, held_in, missing, report
from acpbot.config.settings import ChannelSettings, DiscordSettings
from tests.fakes.discord import errors, gateway, rest
from tests.fakes.discord.interactions import ENTRY_POINT
from tests.support.discord_scene import Scene, staged

ALL = sum(PERMISSIONS.values())


def lines(settings: DiscordSettings, *servers: Server) -> list[str]:
    return [f"{'ok' if ok else 'problem'}: {line}" for ok, line in report(settings, servers, "9")]


# Pure.


def test_a_channel_that_can_not_be_seen_lacks_that_alone():
    assert missing(0, ALL & ~PERMISSIONS["View Channels"] & ~PERMISSIONS["Add Reactions"]) == ("View Channels",)


def test_a_forum_needs_no_right_to_open_threads():
    held = ALL & ~PERMISSIONS["Create Public Threads"] & ~PERMISSIONS["Attach Files"]
    assert missing(0, held) == ("Attach Files", "Create Public Threads")
    assert missing(15, held) == ("Attach Files",)


def test_administrators_have_every_permission_whatever_the_overwrites_say():
    assert held_in([("9", 0, ALL)], {"1": 0, "2": 1 << 3}, ["2"], "9", "1") == ALL


def test_overwrites_go_from_everyone_to_the_roles_to_the_user():
    view, send = PERMISSIONS["View Channels"], PERMISSIONS["Send Messages"]
    roles = {"1": view | send, "2": 0, "3": 0}
    everyone, role, other, user = ("1", 0, view), ("2", view, send), ("3", send, 0), ("9", 0, view)
    assert held_in([everyone], roles, ["2", "3"], "9", "1") == send
    assert held_in([("1", view, 0), ("2", 0, view)], roles, ["1", "2"], "9", "1") == send  # discord.py lists everyone
    assert held_in([everyone, role], roles, ["2", "3"], "9", "1") == view
    assert held_in([everyone, role, other], roles, ["2", "3"], "9", "1") == view | send
    assert held_in([user, everyone, role, other], roles, ["2", "3"], "9", "1") == send


def test_where_all_channels_are_allowed_hidden_ones_are_no_problem():
    settings = DiscordSettings(bot_token="t", allow_all_channels=True)
    seen, hidden, voice = Place("1", "a", 0, ALL), Place("2", "b", 0, 0), Place("3", "c", 2, ALL)
    assert lines(settings, Server("home", [seen, hidden, voice])) == ["ok: the bot is in home", "ok: #a in home: ok"]
    assert lines(settings, Server("home", [hidden]))[1:] == [
        "problem: the bot can't see any channel there: give it the permission View Channels"
    ]


def test_where_not_every_server_is_looked_at_nothing_is_said_of_channels_that_were_not_found():
    settings = DiscordSettings(bot_token="t", allowed_channels=("4", "5"))
    found = list(report(settings, [Server("home", [Place("4", "a", 0, ALL)])], "9", more=3))
    assert found == [(True, "the bot is in home and 3 more, which this doesn't check"), (True, "#a in home: ok")]


def test_channels_in_which_nothing_can_be_opened_are_named():
    channels = {"4": ChannelSettings(), "5": ChannelSettings()}
    settings = DiscordSettings(bot_token="t", channels=channels)
    assert lines(settings, Server("home", [Place("4", "all", 4, ALL), Place("5", "talk", 2, ALL)]))[1:] == [
        "problem: #all in home is a category: name its channels",
        "problem: #talk in home isn't a text channel or a forum, so no threads can be opened there",
    ]


@pytest.mark.parametrize(
    ("error", "lacks", "words"),
    [
        (RequestRefused(403, 50083, "Archived"), (), "because it's locked. Unlock it and ask again."),
        (RequestRefused(400, 160005, "Locked"), (), "because it's locked. Unlock it and ask again."),
        (RequestRefused(403, 50013, "Missing"), ("Attach Files",), "I need this permission: **Attach Files**."),
        (RequestRefused(403, 50001, "Access"), (), "Ask an admin of this server to check my permissions."),
    ],
)
def test_a_channel_reads_why_an_answer_in_its_thread_is_incomplete(error, lacks, words):
    assert words in undelivered_text("1", "7", error, lacks)


@pytest.mark.parametrize(
    ("error", "lacks", "words"),
    [
        (RequestRefused(400, 160006, "Max"), (), "too many active ones"),
        (RequestRefused(400, 160005, "Locked"), (), "is locked"),
        (RequestRefused(403, 50083, "Archived"), (), "is locked"),
        (RequestRefused(400, 50024, "Type"), (), "in this kind of channel"),
        (RequestRefused(403, 50013, "Missing"), ("Attach Files",), "I need this permission: **Attach Files**."),
        (RequestRefused(403, 50001, "Access"), (), "check my permissions"),
        (RequestRefused(400, 50035, "Invalid"), (), "An admin can check the log"),
        (Unreachable("502 Bad Gateway"), (), "Please try again in a moment"),
    ],
)
def test_people_read_what_to_do_and_no_code(error, lacks, words):
    text = not_opened_text(error, lacks)
    assert words in text
    assert not any(character.isdigit() for character in text)


# With Discord.


async def test_the_one_permission_that_is_missing_is_named_to_the_person(tmp_path, caplog):
    async with staged(tmp_path) as scene:
        scene.server.set_permissions(scene.channel, scene.guild.everyone, deny=["CREATE_PUBLIC_THREADS"])
        scene.asks("say hello")
        hint = await scene.server.wait_for_message(scene.channel)
        expected = "I can't open a thread here: I need this permission: **Create Public Threads**."
        assert hint.content == f"{expected} Ask an admin of this server."
    assert [record.message for record in caplog.records].count("thread_not_opened") == 1


async def test_a_server_with_too_many_threads_is_told_what_to_do(tmp_path):
    async with staged(tmp_path) as scene:
        body = errors.too_many_threads().body()
        scene.server.faults.status(400, "POST", rest.MESSAGE_THREADS, body=body)
        scene.asks("say hello")
        hint = await scene.server.wait_for_message(scene.channel)
        assert "too many active ones" in hint.content
        assert "160006" not in hint.content


def problems(scene: Scene) -> tuple[str | None, str | None]:
    scene.clock.ahead += 60
    facts = scene.chat.facts()
    return facts.channels_problem, facts.commands_problem


async def test_health_names_the_channels_in_which_a_permission_is_missing(tmp_path):
    async with staged(tmp_path) as scene:
        assert problems(scene) == (None, None)
        scene.server.set_permissions(scene.channel, scene.guild.everyone, deny=["ATTACH_FILES"])
        thread = await scene.opens("say hello")  # the client has then heard of it: events come in order
        await scene.idle(thread, 1)
        assert problems(scene)[0] == "#general in home: the bot lacks Attach Files"


async def test_an_outage_of_one_server_hides_no_problem_of_another(tmp_path):
    def second(scene: Scene) -> dict[str, object]:
        other = scene.server.make_guild("other")
        scene.server.set_permissions(scene.server.make_channel(other, "chat"), other.everyone, deny=["ATTACH_FILES"])
        return {}

    async with staged(tmp_path, setup=second) as scene:
        scene.server.gateway.dispatch("GUILD_DELETE", gateway.GUILDS, {"id": str(scene.guild.id), "unavailable": True})
        assert await scene.server.wait_for(lambda: problems(scene)[0]) == "#chat in other: the bot lacks Attach Files"


async def test_health_says_that_the_bot_is_in_no_server(tmp_path):
    async with staged(tmp_path, setup=leave) as scene:
        found, _ = problems(scene)
        assert found == f"the bot is in no server yet: open the invite link {permissions.invite_link(client_id(scene))}"


def client_id(scene: Scene) -> str:
    return str(scene.server.world.application_id)


def leave(scene: Scene) -> dict[str, object]:
    scene.server.world.guilds.clear()
    return {}


async def test_the_entry_point_of_an_application_is_kept(tmp_path):
    async with staged(tmp_path, faults=add_entry_point) as scene:
        await scene.server.wait_for(lambda: len(scene.server.commands()) > 1, what="the commands")
        kept = [one["name"] for one in scene.server.commands() if one["type"] == ENTRY_POINT]
        assert kept == ["launch"]
        assert "status" in {one["name"] for one in scene.server.commands()}
        assert problems(scene) == (None, None)


def add_entry_point(server) -> None:
    entry = {"id": "1", "name": "launch", "type": ENTRY_POINT, "description": "", "handler": 2, "version": "1"}
    server.interactions.commands[None] = [entry]


async def test_a_refusal_of_the_commands_is_in_health(tmp_path):
    def refuse(server) -> None:
        body = {"code": 30032, "message": "Maximum number of application commands reached (100)"}
        server.faults.status(400, "PUT", rest.COMMANDS, body=body, times=10)

    async with staged(tmp_path, faults=refuse, registered=False) as scene:
        await scene.server.wait_for(lambda: problems(scene)[1] is not None, what="the problem")
        assert "Discord refuses the slash commands: 400 Maximum number" in str(problems(scene)[1])


def test_the_kinds_of_channels_are_those_of_discord_py():
    kinds = discord.ChannelType
    assert {kinds.text.value, kinds.news.value, kinds.forum.value, kinds.media.value, kinds.category.value} == {
        *permissions._TEXT,
        *permissions._POSTS,
        permissions._CATEGORY,
    }
