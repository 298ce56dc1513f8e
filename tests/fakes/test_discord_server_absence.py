"""The loopback Discord, by the real and unmodified discord.py: what a client finds out that was away."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import discord
from discord.http import Route

from tests.fakes.discord.client import running
from tests.fakes.discord.server import DiscordServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.discord.people import Author
    from tests.fakes.discord.state import Channel, Guild

INTENTS = discord.Intents(guilds=True, guild_messages=True, message_content=True)


class Bot(discord.Client):
    """A client that keeps the nonces it gets. It does not wait 5 s before an IDENTIFY: that hook is public."""

    def __init__(self) -> None:
        super().__init__(intents=INTENTS, guild_ready_timeout=0.05)
        self.nonces: list[str | int | None] = []

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        pass

    async def on_message(self, message: discord.Message) -> None:
        self.nonces.append(message.nonce)


class Scene:
    """A server with a guild, a channel, a user, and a thread that the bot has opened; clients come and go."""

    def __init__(self, server: DiscordServer) -> None:
        self.server = server
        self.guild: Guild = server.make_guild("home")
        self.channel: Channel = server.make_channel(self.guild, "general")
        self.ada: Author = server.make_user("ada", self.guild)
        self.thread: Channel = server.make_thread(
            self.channel, server.bot, "work", from_message=self.ada.says(self.channel, "go")
        )

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Bot]:
        bot = Bot()
        async with running(self.server, bot):
            yield bot

    def seen(self, bot: Bot) -> tuple[discord.TextChannel, discord.Thread]:
        """The channel and the thread as GUILD_CREATE had them."""
        channel, thread = bot.get_channel(self.channel.id), bot.get_channel(self.thread.id)
        assert isinstance(channel, discord.TextChannel)
        assert isinstance(thread, discord.Thread)
        return channel, thread


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with DiscordServer(unit=0.01) as server:
        yield Scene(server)
        assert server.unserved == []


async def create(bot: Bot, channel: Channel, **body: Any) -> dict[str, Any]:
    """POST a message with a body of the test's own; the answer."""
    answer: dict[str, Any] = await bot.http.request(
        Route("POST", "/channels/{channel_id}/messages", channel_id=channel.id), json=body
    )
    return answer


async def test_a_nonce_that_is_enforced_makes_one_message_across_clients() -> None:
    async with scene() as one:
        async with one.client() as before:
            first = await create(before, one.thread, content="once", nonce="n-1", enforce_nonce=True)
        async with one.client() as after:
            again = await create(after, one.thread, content="once more", nonce="n-1", enforce_nonce=True)
            elsewhere = await create(after, one.channel, content="once", nonce="n-1", enforce_nonce=True)
            loose = await create(after, one.thread, content="once", nonce="n-1")
        assert (again["id"], again["content"], again["nonce"]) == (first["id"], "once", "n-1")
        made = one.server.messages_in(one.thread, by=one.server.bot)
        assert [str(message.id) for message in made] == [first["id"], loose["id"]]
        assert [str(m.id) for m in one.server.messages_in(one.channel, by=one.server.bot)] == [elsewhere["id"]]


async def test_a_nonce_is_sent_once_and_not_kept() -> None:
    async with scene() as one, one.client() as bot:
        made = await create(bot, one.thread, content="hello", nonce="n-1", enforce_nonce=True)
        assert made["nonce"] == "n-1"
        await one.server.wait_for_message(one.thread)
        _, thread = one.seen(bot)
        await thread.get_partial_message(int(made["id"])).edit(content="bye")
        await one.server.wait_until_connected()
        assert bot.nonces == ["n-1"]
        assert (await thread.fetch_message(int(made["id"]))).nonce is None
        assert {m.nonce async for m in thread.history()} == {None}


async def test_the_last_message_of_each_channel_and_thread_is_sent_on_connecting() -> None:
    async with scene() as one:
        async with one.client() as bot:
            channel, thread = one.seen(bot)
            (starter,) = one.server.messages_in(one.thread)
            assert (channel.last_message_id, thread.last_message_id) == (one.thread.id, starter.id)
        missed = [one.ada.says(one.channel, "missed"), one.ada.says(one.thread, "missed too")]
        async with one.client() as bot:
            channel, thread = one.seen(bot)
            assert [channel.last_message_id, thread.last_message_id] == [message.id for message in missed]
            assert [m.content async for m in thread.history(after=starter)] == ["missed too"]


async def test_the_last_message_of_a_channel_may_be_gone_and_is_never_an_ephemeral_one() -> None:
    async with scene() as one:
        last = one.ada.says(one.channel, "taken back")
        one.ada.deletes(last)
        async with one.client() as bot:
            tree = discord.app_commands.CommandTree(bot)
            tree.command(name="status", description="how it goes")(status)
            await tree.sync()
            run = await one.server.wait_for_answer(one.ada.slash("status", channel=one.channel))
            assert (run.answer_text, one.server.messages_in(one.channel)[-1].ephemeral) == ("all well", True)
            fetched = await bot.fetch_channel(one.channel.id)
            assert isinstance(fetched, discord.TextChannel)
            assert fetched.last_message_id == last.id
            assert [m.id async for m in fetched.history()] == [one.thread.id]


async def status(interaction: discord.Interaction) -> None:
    await interaction.response.send_message("all well", ephemeral=True)


async def test_messages_after_one_come_from_the_oldest_on_newest_first() -> None:
    async with scene() as one, one.client() as bot:
        first, *rest = [one.ada.says(one.thread, str(number)) for number in range(120)]
        found = await bot.http.logs_from(one.thread.id, 50, after=first.id)
        assert [m["content"] for m in found] == [str(number) for number in range(50, 0, -1)]
        assert await bot.http.logs_from(one.thread.id, 100, after=rest[-1].id) == []
        _, thread = one.seen(bot)
        everything = [m.content async for m in thread.history(after=first, limit=None)]
        assert everything == [message.content for message in rest]
        assert {"member", "guild_id"}.isdisjoint(found[0])  # a role is asked for at GET guild member


async def test_a_message_says_which_reactions_are_ones_own() -> None:
    async with scene() as one, one.client() as bot:
        asked = one.ada.says(one.thread, "please")
        one.ada.reacts(asked, "👍")
        _, thread = one.seen(bot)
        await thread.get_partial_message(asked.id).add_reaction("👀")
        one.ada.reacts(asked, "👀")
        fetched = await thread.fetch_message(asked.id)
        assert [(str(r.emoji), r.me, r.count) for r in fetched.reactions] == [("👍", False, 1), ("👀", True, 2)]
        assert [[r.me for r in m.reactions] async for m in thread.history(limit=1)] == [[False, True]]


async def test_a_message_from_which_a_thread_was_made_says_so() -> None:
    async with scene() as one, one.client() as bot:
        channel, thread = one.seen(bot)
        lone = one.ada.says(one.channel, "no thread")
        ((alone, opened)) = [m async for m in channel.history()]
        assert (alone.id, alone.thread, alone.flags.has_thread) == (lone.id, None, False)
        assert (opened.thread, opened.flags.has_thread) == (thread, True)


async def test_active_threads_and_no_others_are_sent_on_connecting() -> None:
    async with scene() as one:
        foreign = one.server.make_thread(one.channel, one.ada, "not the bot's")
        asleep = one.server.make_thread(one.channel, one.server.bot, "asleep")
        one.ada.archives(asleep)
        async with one.client() as bot:
            _, thread = one.seen(bot)
            assert {found.id for found in bot.guilds[0].threads} == {one.thread.id, foreign.id}
            assert (thread.owner_id, thread.me is not None) == (one.server.bot.id, True)
            joined = bot.get_channel(foreign.id)
            assert isinstance(joined, discord.Thread)
            assert joined.me is None
            assert {found.id for found in await bot.guilds[0].active_threads()} == {one.thread.id, foreign.id}
        one.ada.says(asleep, "wake up")
        async with one.client() as bot:
            assert asleep.id in {found.id for found in bot.guilds[0].threads}


async def test_the_roles_of_who_wrote_meanwhile_can_be_asked_for() -> None:
    async with scene() as one:
        role = one.server.make_role(one.guild, "dev")
        one.server.give_roles(one.guild, one.ada, [role])
        async with one.client() as bot:
            member = await bot.guilds[0].fetch_member(one.ada.id)
            assert [held.id for held in member.roles] == [one.guild.id, role.id]


async def test_a_session_is_forgotten_after_a_while_without_a_connection() -> None:
    async with scene() as one, one.client() as bot:
        gateway = one.server.gateway
        gateway.expire()
        assert len(gateway.sessions) == 1  # it is connected
        gateway.refuse()
        gateway.cut()
        await one.server.wait_for(lambda: not gateway.connections and gateway.refused)
        gateway.expire()
        one.ada.says(one.channel, "meanwhile")
        gateway.accept()
        await one.server.wait_for(lambda: gateway.identifies == 2, seconds=30)
        assert (gateway.resumes, len(gateway.sessions)) == (0, 1)
        await one.server.wait_until_connected()
        assert bot.nonces == []
