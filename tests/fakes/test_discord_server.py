"""The loopback Discord, by the real and unmodified discord.py: what a bot does on a good day."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import discord
import pytest
from discord import app_commands

from tests.fakes.discord import rest, state
from tests.fakes.discord.client import running
from tests.fakes.discord.people import is_system
from tests.fakes.discord.server import DiscordServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.discord.people import Author
    from tests.fakes.discord.state import Channel, Guild

INTENTS = discord.Intents(
    guilds=True, guild_messages=True, dm_messages=True, guild_reactions=True, message_content=True
)


class Bot(discord.Client):
    """A client that keeps what it hears and has a few commands."""

    def __init__(self, intents: discord.Intents = INTENTS) -> None:
        super().__init__(intents=intents, guild_ready_timeout=0.05)
        self.heard: asyncio.Queue[discord.Message] = asyncio.Queue()
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.tree = app_commands.CommandTree(self)
        self.tree.command(name="status", description="how it goes")(status)
        self.tree.command(name="slow", description="takes its time")(slow)
        self.tree.add_command(model)
        self.tree.command(name="ask", description="asks back")(ask)

    async def setup_hook(self) -> None:
        await self.tree.sync()

    async def on_message(self, message: discord.Message) -> None:
        if message.author != self.user:
            self.heard.put_nowait(message)

    async def on_message_edit(self, before: discord.Message, after: discord.Message) -> None:
        if before.content != after.content:
            self.events.put_nowait(("edit", (before.content, after.content)))

    async def on_message_delete(self, message: discord.Message) -> None:
        self.events.put_nowait(("delete", message.id))

    async def on_reaction_add(self, reaction: discord.Reaction, user: discord.Member) -> None:
        self.events.put_nowait(("reaction", (str(reaction.emoji), user.name)))

    async def on_thread_update(self, _before: discord.Thread, after: discord.Thread) -> None:
        self.events.put_nowait(("thread", (after.name, after.archived)))

    async def on_thread_delete(self, thread: discord.Thread) -> None:
        self.events.put_nowait(("thread gone", thread.id))


async def status(interaction: discord.Interaction, verbose: bool = False) -> None:
    await interaction.response.send_message(f"all well, verbose={verbose}", ephemeral=True)


async def slow(interaction: discord.Interaction) -> None:
    await interaction.response.defer(ephemeral=True, thinking=True)
    await interaction.followup.send("at last")
    await interaction.followup.send("and more", ephemeral=True)


@app_commands.command(name="model", description="choose one")
async def model(interaction: discord.Interaction, name: str) -> None:
    await interaction.response.send_message(f"model {name}")
    await interaction.edit_original_response(content=f"now {name}")


@model.autocomplete("name")
async def model_names(_interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
    return [app_commands.Choice(name=n, value=n) for n in ("fast", "fine", "deep") if n.startswith(current)]


class Question(discord.ui.Modal, title="Question"):
    answer = discord.ui.TextInput[Any](label="Answer", custom_id="answer")

    async def on_submit(self, interaction: discord.Interaction) -> None:
        await interaction.response.send_message(f"you said {self.answer.value}")


async def ask(interaction: discord.Interaction) -> None:
    await interaction.response.send_modal(Question())


class Buttons(discord.ui.View):
    @discord.ui.button(label="Allow", custom_id="allow", style=discord.ButtonStyle.green)
    async def allow(self, interaction: discord.Interaction, _button: discord.ui.Button[Any]) -> None:
        await interaction.response.edit_message(content="allowed", view=None)

    @discord.ui.button(label="Reject", custom_id="reject")
    async def reject(self, interaction: discord.Interaction, _button: discord.ui.Button[Any]) -> None:
        await interaction.response.defer()
        await interaction.followup.send("not you", ephemeral=True)

    @discord.ui.button(label="Never", custom_id="never", disabled=True)
    async def never(self, _interaction: discord.Interaction, _button: discord.ui.Button[Any]) -> None:
        pytest.fail("a disabled button was clicked")


class Scene:
    """A server with a guild, a channel and a user, and the bot in it."""

    def __init__(self, server: DiscordServer) -> None:
        self.server = server
        self.guild: Guild = server.make_guild("home")
        self.channel: Channel = server.make_channel(self.guild, "general")
        self.ada: Author = server.make_user("ada", self.guild)
        self.bot = Bot()

    @property
    def there(self) -> discord.TextChannel:
        """The channel as the client has it."""
        found = self.bot.get_channel(self.channel.id)
        assert isinstance(found, discord.TextChannel)
        return found

    async def hears(self) -> discord.Message:
        return await asyncio.wait_for(self.bot.heard.get(), 5)

    async def event(self) -> tuple[str, Any]:
        return await asyncio.wait_for(self.bot.events.get(), 5)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with DiscordServer(unit=0.01) as server:
        made = Scene(server)
        async with running(server, made.bot):
            yield made
        assert server.unserved == []
        assert server.rate_limited == []


async def test_the_client_finds_its_guild_and_registers_its_commands(scene: Scene) -> None:
    guild = scene.bot.get_guild(scene.guild.id)
    assert guild is not None
    assert [c.name for c in guild.text_channels] == ["general"]
    assert guild.me.guild_permissions.send_messages_in_threads
    assert not guild.me.guild_permissions.manage_messages
    assert {c["name"] for c in scene.server.commands()} == {"status", "slow", "ask", "model"}
    assert scene.server.gateway.identifies == 1


async def test_a_guild_scope_has_commands_of_its_own(scene: Scene) -> None:
    here = discord.Object(scene.guild.id)
    scene.bot.tree.command(name="here", description="only here", guild=here)(slow)
    await scene.bot.tree.sync(guild=here)
    assert [c["name"] for c in scene.server.commands(scene.guild)] == ["here"]
    assert [c.name for c in await scene.bot.tree.fetch_commands(guild=here)] == ["here"]


async def test_a_command_that_is_registered_alone_joins_the_others_or_takes_its_earlier_place(scene: Scene) -> None:
    http, application = scene.bot.http, scene.bot.application_id
    await http.upsert_global_command(application, {"name": "one", "description": "first"})  # type: ignore[typeddict-item, arg-type]
    await http.upsert_global_command(application, {"name": "one", "description": "again"})  # type: ignore[typeddict-item, arg-type]
    mine = {c["name"]: c["description"] for c in scene.server.commands()}
    assert mine["one"] == "again"
    assert {"status", "slow"} <= set(mine)


async def test_a_message_comes_in_and_one_is_sent_edited_and_deleted(scene: Scene) -> None:
    scene.ada.says(scene.channel, "fix the tests", mentions=[scene.server.bot])
    heard = await scene.hears()
    assert heard.content.endswith("fix the tests")
    assert heard.guild is not None
    assert heard.mentions == [heard.guild.me]
    sent = await heard.channel.send("working")
    await sent.edit(content="  done\n")
    kept = await scene.server.wait_for_message(scene.channel, lambda m: m.content == "done")
    assert kept.contents == ["working", "done"]
    assert kept.versions[0].at < kept.versions[1].at
    assert (await heard.channel.fetch_message(sent.id)).edited_at is not None
    assert [m.content async for m in heard.channel.history()] == ["done", heard.content]
    await sent.delete()
    assert kept.deleted
    with pytest.raises(discord.NotFound) as unknown:
        await sent.edit(content="again")
    assert unknown.value.code == 10008


async def test_what_users_do_to_their_messages_reaches_the_client(scene: Scene) -> None:
    message = scene.ada.says(scene.channel, "one")
    await scene.hears()
    scene.ada.edits(message, "two")
    assert await scene.event() == ("edit", ("one", "two"))
    scene.ada.reacts(message, "👍")
    assert await scene.event() == ("reaction", ("👍", "ada"))
    scene.ada.deletes(message)
    assert await scene.event() == ("delete", message.id)


async def test_without_the_content_intent_only_a_mention_is_readable(scene: Scene) -> None:
    blind = Bot(discord.Intents(guilds=True, guild_messages=True))
    async with running(scene.server, blind):
        scene.ada.says(scene.channel, "secret", attachments={"a.txt": "secret"})
        scene.ada.says(scene.channel, "for you", mentions=[scene.server.bot])
        first, second = await blind.heard.get(), await blind.heard.get()
    assert (first.content, first.attachments) == ("", [])
    assert second.content.endswith("for you")
    assert (await scene.hears()).content == "secret"


async def test_files_go_up_and_come_down(scene: Scene) -> None:
    message = scene.ada.says(scene.channel, "look", attachments={"naïve 1.txt": "hé", "p.png": b"\x89PNG"})
    heard = await scene.hears()
    assert [a.content_type for a in heard.attachments] == ["text/plain; charset=utf-8", "image/png"]
    assert (await heard.attachments[0].read()).decode() == "hé"
    await heard.channel.send("here", files=[discord.File(io.BytesIO(b"rest"), "rest.txt"), discord.File(__file__)])
    kept = await scene.server.wait_for_message(scene.channel)
    assert [a.filename for a in kept.attachments] == ["rest.txt", "test_discord_server.py"]
    assert kept.attachments[0].text == "rest"
    sent = await heard.channel.fetch_message(kept.id)
    await sent.edit(attachments=[sent.attachments[1]])
    assert [v.attachments for v in kept.versions][-1] == ("test_discord_server.py",)
    scene.ada.deletes(message)
    with pytest.raises(discord.NotFound):
        await heard.attachments[1].read()


async def test_replies_and_what_they_ping(scene: Scene) -> None:
    question = scene.ada.says(scene.channel, "who?")
    heard = await scene.hears()
    await heard.reply(f"{scene.ada.mention} @everyone", allowed_mentions=discord.AllowedMentions.none())
    await heard.reply("loud")
    quiet, loud = scene.server.messages_in(scene.channel, by=scene.server.bot)
    assert quiet.referenced is question
    assert not quiet.pings
    assert loud.mentions == [scene.ada]
    scene.ada.says(scene.channel, "me", reply_to=loud)
    answer = await scene.hears()
    assert answer.reference is not None
    assert isinstance(answer.reference.resolved, discord.Message)
    assert answer.reference.resolved.content == "loud"
    assert answer.guild is not None
    assert answer.mentions == [answer.guild.me]


async def test_a_thread_from_a_message(scene: Scene) -> None:
    message = scene.ada.says(scene.channel, "long story")
    heard = await scene.hears()
    thread = await heard.create_thread(name="story")
    assert thread.id == message.id
    starter = await scene.hears()
    assert starter.type is discord.MessageType.thread_starter_message
    await thread.send("in it")
    kept = await scene.server.wait_for_thread(scene.channel)
    assert [(m.content, is_system(m)) for m in scene.server.messages_in(kept)] == [("", True), ("in it", False)]
    with pytest.raises(discord.HTTPException) as twice:
        await heard.create_thread(name="again")
    assert twice.value.code == 160004
    await thread.edit(name="the story")
    assert [name for _, name in kept.names] == ["story", "the story"]
    assert (await scene.event()) == ("thread", ("the story", False))
    scene.ada.says(kept, "more")
    assert (await scene.hears()).channel == thread


async def test_a_message_unarchives_a_thread_unless_it_is_locked(scene: Scene) -> None:
    thread = await scene.there.create_thread(name="alone", type=discord.ChannelType.public_thread)
    kept = await scene.server.wait_for_thread(scene.channel)
    sent = await thread.send("hello")
    await thread.edit(archived=True)
    assert await scene.event() == ("thread", ("alone", True))
    with pytest.raises(discord.HTTPException) as asleep:
        await sent.edit(content="changed")
    assert (asleep.value.status, asleep.value.code) == (400, 50083)
    await thread.send("awake")
    assert not kept.archived
    scene.ada.locks(kept)
    with pytest.raises(discord.Forbidden) as locked:
        await thread.send("locked out")
    assert locked.value.code == 50083
    scene.ada.deletes_thread(kept)
    with pytest.raises(discord.NotFound) as gone:
        await thread.send("anyone?")
    assert gone.value.code == 10003


async def test_reactions_are_kept_in_order(scene: Scene) -> None:
    message = scene.ada.says(scene.channel, "work")
    heard = await scene.hears()
    await heard.add_reaction("👀")
    await heard.add_reaction("🤔")
    assert heard.guild is not None
    await heard.remove_reaction("👀", heard.guild.me)
    assert [(r.added, r.emoji) for r in message.reaction_log] == [(True, "👀"), (True, "🤔"), (False, "👀")]
    assert message.shown_reactions == ["🤔"]
    with pytest.raises(discord.HTTPException) as unknown:
        await heard.add_reaction("thumbsup")
    assert unknown.value.code == 10014


async def test_typing_is_recorded(scene: Scene) -> None:
    async with scene.there.typing():
        assert len(scene.channel.typing) == 1


async def test_a_direct_message_and_its_answer(scene: Scene) -> None:
    channel = scene.server.dm(scene.ada)
    scene.ada.says(channel, "psst")
    heard = await scene.hears()
    assert isinstance(heard.channel, discord.DMChannel)
    await (await scene.bot.fetch_user(scene.ada.id)).send("yes?")
    assert (await scene.server.wait_for_message(channel)).content == "yes?"


async def test_a_click_edits_the_message_that_has_the_button(scene: Scene) -> None:
    await scene.there.send("may I?", view=Buttons())
    asked = await scene.server.wait_for_message(scene.channel)
    assert [b["label"] for b in asked.buttons] == ["Allow", "Reject", "Never"]
    with pytest.raises(LookupError, match="disabled"):
        scene.ada.clicks(asked, "never")
    refused = await scene.server.wait_for_answer(scene.ada.clicks(asked, label="Reject"))
    await scene.server.wait_for(lambda: refused.answer_text)
    assert (refused.response_type, refused.answer_text, refused.messages[0].visible_to) == (6, "not you", scene.ada)
    click = await scene.server.wait_for_answer(scene.ada.clicks(asked, "allow"))
    assert click.response_type == 7
    assert (asked.contents, asked.components) == (["may I?", "allowed"], [])
    with pytest.raises(LookupError, match="these buttons: none"):
        scene.ada.clicks(asked, "allow")


async def test_slash_commands_answer_defer_and_follow_up(scene: Scene) -> None:
    run = scene.ada.slash("status", {"verbose": True}, channel=scene.channel)
    answered = await scene.server.wait_for_answer(run)
    assert answered.answer_text == "all well, verbose=True"
    assert answered.messages[0].ephemeral
    assert answered.seconds is not None
    assert answered.seconds < 3
    late = await scene.server.wait_for_answer(scene.ada.slash("slow", channel=scene.channel))
    await scene.server.wait_for(lambda: len(late.messages) == 2)
    assert late.answer_text == "at last\nand more"
    assert late.original is not None
    assert late.original.ephemeral
    assert not late.original.loading
    named = scene.ada.slash("model", {"name": "fast"}, channel=scene.channel)
    await scene.server.wait_for(lambda: named.answer_text == "now fast")
    with pytest.raises(LookupError, match="has not registered it"):
        scene.ada.slash("nothing", channel=scene.channel)


async def test_autocomplete_and_a_modal(scene: Scene) -> None:
    typed = await scene.server.wait_for_answer(scene.ada.autocompletes("model", "name", "f", channel=scene.channel))
    assert typed.response is not None
    assert [c["value"] for c in typed.response["choices"]] == ["fast", "fine"]
    shown = await scene.server.wait_for_answer(scene.ada.slash("ask", channel=scene.channel))
    assert shown.response_type == 9
    done = await scene.server.wait_for_answer(scene.ada.submits(shown, {"answer": "forty-two"}))
    assert done.answer_text == "you said forty-two"


async def test_an_interaction_can_be_too_old_or_answered_already(scene: Scene) -> None:
    caught: asyncio.Queue[discord.Interaction] = asyncio.Queue()

    async def hold(interaction: discord.Interaction) -> bool:
        caught.put_nowait(interaction)
        return False

    scene.bot.tree.interaction_check = hold  # type: ignore[method-assign]
    run = scene.ada.slash("status", channel=scene.channel)
    late = await caught.get()
    run.expire()
    with pytest.raises(discord.NotFound) as unknown:
        await late.response.send_message("too late")
    assert unknown.value.code == 10062
    scene.ada.slash("status", channel=scene.channel)
    twice = await caught.get()
    await twice.response.send_message("once")
    with pytest.raises(discord.HTTPException) as acknowledged:
        await discord.InteractionResponse(twice).send_message("twice")
    assert acknowledged.value.code == 40060


@pytest.mark.parametrize(
    ("content", "files", "code"),
    [("x" * 2001, 0, 50035), ("", 0, 50006), ("  \n ", 0, 50006), ("files", 11, 30015)],
)
async def test_what_a_message_must_not_be(scene: Scene, content: str, files: int, code: int) -> None:
    many = [discord.File(io.BytesIO(b"x"), f"{n}.txt") for n in range(files)]
    with pytest.raises(discord.HTTPException) as refused:
        await scene.there.send(content, files=many)
    assert (refused.value.status, refused.value.code) == (400, code)
    await scene.there.send("x" * 2000)
    assert [len(m.content) for m in scene.server.messages_in(scene.channel)] == [2000]


async def test_buttons_and_thread_names_have_their_limits(scene: Scene) -> None:
    view = discord.ui.View()
    view.add_item(discord.ui.Button(label="x" * 81, custom_id="a"))
    with pytest.raises(discord.HTTPException, match=r"components\.0\.components\.0\.label"):
        await scene.there.send("long", view=view)
    with pytest.raises(discord.HTTPException, match="Must be between 1 and 100"):
        await scene.there.create_thread(name="x" * 101)


async def test_permissions_decide(scene: Scene) -> None:
    there = scene.there
    scene.server.set_permissions(scene.channel, scene.server.bot, deny=["SEND_MESSAGES"])
    with pytest.raises(discord.Forbidden) as silent:
        await there.send("no")
    assert silent.value.code == 50013
    heard = scene.ada.says(scene.channel, "still heard")
    message = await scene.hears()
    assert message.guild is not None
    assert not message.channel.permissions_for(message.guild.me).send_messages
    with pytest.raises(discord.Forbidden) as foreign:
        await message.edit(content="mine now")
    assert foreign.value.code == 50005
    scene.server.set_permissions(scene.channel, scene.guild.everyone, deny=["VIEW_CHANNEL"])
    with pytest.raises(discord.Forbidden) as hidden:
        await there.fetch_message(heard.id)
    assert hidden.value.code == 50001
    scene.server.set_permissions(scene.channel, scene.server.bot, allow=["VIEW_CHANNEL"])
    moderator = scene.server.make_role(scene.guild, "moderator", ["MANAGE_MESSAGES"])
    scene.server.give_roles(scene.guild, scene.server.bot, [moderator])
    await there.get_partial_message(heard.id).delete()
    assert heard.deleted


async def test_members_and_roles_can_be_fetched(scene: Scene) -> None:
    role = scene.server.make_role(scene.guild, "dev")
    eve = scene.server.make_user("eve", scene.guild, [role])
    stranger = scene.server.make_user("stranger")
    guild = scene.bot.get_guild(scene.guild.id)
    assert guild is not None
    assert [m.name for m in await guild.query_members("e")] == ["eve"]
    everyone = Bot(discord.Intents(guilds=True, members=True))
    async with running(scene.server, everyone):
        assert {m.name for m in everyone.guilds[0].members} == {"owner of home", "acpbot", "ada", "eve"}
    assert [r.name for r in (await guild.fetch_member(eve.id)).roles] == ["@everyone", "dev"]
    with pytest.raises(discord.NotFound) as unknown:
        await guild.fetch_member(stranger.id)
    assert unknown.value.code == 10007


async def test_requests_are_recorded_whole(scene: Scene) -> None:
    await scene.there.send("hello", silent=True)
    call = await scene.server.wait_for_request("POST", rest.MESSAGES)
    assert (call.status, call.json["content"], call.json["enforce_nonce"]) == (200, "hello", True)
    assert call.json["flags"] == 1 << 12
    assert call.params == {"channel_id": str(scene.channel.id)}
    assert scene.server.nonces == [call.json["nonce"]]


async def test_a_wait_that_fails_says_what_came_instead(scene: Scene) -> None:
    await scene.there.send("something else")
    with pytest.raises(
        AssertionError, match=r"a message in #general did not come(.|\n)*acpbot in #general: 'something else'"
    ):
        await scene.server.wait_for_message(scene.channel, lambda m: m.content == "hello", seconds=0.01)


def test_snowflakes_rise() -> None:
    make = state.Snowflakes()
    made = [make() for _ in range(1000)]
    assert made == sorted(set(made))
