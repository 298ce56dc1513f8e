"""The loopback Discord, by the real and unmodified discord.py: limits, failures, and a gateway that comes and goes."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import discord
import pytest

from tests.fakes.discord import rest
from tests.fakes.discord.client import running
from tests.fakes.discord.limits import EDITS, GLOBAL, SENDS, Limits
from tests.fakes.discord.server import DiscordServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.discord.client import Running
    from tests.fakes.discord.people import Author
    from tests.fakes.discord.state import Channel

INTENTS = discord.Intents(guilds=True, guild_messages=True, message_content=True)


class Bot(discord.Client):
    """A client that keeps what it hears. It does not wait 5 s before an IDENTIFY: that hook is public."""

    def __init__(self, server: DiscordServer, **options: Any) -> None:
        super().__init__(intents=INTENTS, guild_ready_timeout=0.05, **options)
        self.server = server
        self.heard: list[str] = []
        self.resumed = 0

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        pass

    async def on_message(self, message: discord.Message) -> None:
        self.heard.append(message.content)
        self.server.notify()

    async def on_resumed(self) -> None:
        self.resumed += 1
        self.server.notify()


class Scene:
    """A server with a guild, a channel and a user, and the bot in it."""

    def __init__(self, server: DiscordServer, bot: Bot) -> None:
        self.server = server
        self.bot = bot
        guild = server.make_guild()
        self.channel: Channel = server.make_channel(guild)
        self.ada: Author = server.make_user("ada", guild)
        self.running: Running

    @property
    def there(self) -> discord.TextChannel:
        """The channel as the client has it."""
        found = self.bot.get_channel(self.channel.id)
        assert isinstance(found, discord.TextChannel)
        return found

    async def hears(self, *texts: str) -> None:
        """Waits until the client has got these, in this order and nothing else."""
        await self.server.wait_for(lambda: self.server.gateway.connected and len(self.bot.heard) >= len(texts))
        assert self.bot.heard == list(texts)


@asynccontextmanager
async def scene(*, unit: float = 0.01, options: dict[str, Any] | None = None, **server: Any) -> AsyncIterator[Scene]:
    async with DiscordServer(unit=unit, **server) as made:
        one = Scene(made, Bot(made, **(options or {})))
        async with running(made, one.bot) as one.running:
            yield one
        assert made.unserved == []


@asynccontextmanager
async def raw(server: DiscordServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that looks at no header before it calls."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bot {server.token}"}) as session:
        yield session


# limits


async def test_a_client_that_heeds_the_headers_meets_no_429() -> None:
    async with scene() as one:
        sent = await one.there.send("0")
        began = time.monotonic()
        for n in range(1, 13):
            await sent.edit(content=str(n))
        # Twelve edits are two full windows and two more: two windows of 5 units have to pass.
        assert time.monotonic() - began >= 2 * EDITS.per * 0.01
        message = await one.server.wait_for_message(one.channel)
        assert message.contents == [str(n) for n in range(13)]
        assert one.server.rate_limited == []


async def test_sends_and_edits_have_a_bucket_each_and_all_messages_of_a_channel_share_it() -> None:
    async with DiscordServer() as server, raw(server) as http:
        guild = server.make_guild()
        here, there = server.make_channel(guild), server.make_channel(guild)
        url = f"{server.api_base}/channels"
        for n in range(5):
            async with http.post(f"{url}/{here.id}/messages", json={"content": str(n)}) as sent:
                assert sent.headers["X-RateLimit-Remaining"] == str(4 - n)
        for number in list(here.messages):
            async with http.patch(f"{url}/{here.id}/messages/{number}", json={"content": "x"}) as edited:
                assert edited.status == 200
        async with http.patch(f"{url}/{here.id}/messages/{number}", json={"content": "y"}) as refused:
            assert refused.status == 429
        async with http.post(f"{url}/{there.id}/messages", json={"content": "elsewhere"}) as elsewhere:
            assert elsewhere.status == 200
            assert elsewhere.headers["X-RateLimit-Bucket"] == sent.headers["X-RateLimit-Bucket"]
            assert edited.headers["X-RateLimit-Bucket"] != sent.headers["X-RateLimit-Bucket"]
        async with http.post(f"{url}/{here.id}/messages", json={"content": "6"}) as refused:
            body = await refused.json()
        assert (refused.status, body["global"], refused.content_type) == (429, False, "application/json")
        assert 4 < body["retry_after"] <= 5
        assert refused.headers["Retry-After"] == "5"
        assert refused.headers["Via"]
        assert refused.headers["X-RateLimit-Scope"] == "user"
        assert [call.route for call in server.rate_limited] == [rest.MESSAGE, rest.MESSAGES]


async def test_fifty_a_second_for_everything_together() -> None:
    async with DiscordServer() as server, raw(server) as http:
        for _ in range(GLOBAL.limit):
            async with http.get(f"{server.api_base}/users/@me") as response:
                assert response.status == 200
        async with http.get(f"{server.api_base}/users/@me") as refused:
            assert (refused.status, (await refused.json())["global"]) == (429, True)
            assert refused.headers["X-RateLimit-Global"] == "true"


def test_a_window_opens_with_its_first_call_and_ends_whole() -> None:
    now = [0.0]
    limits = Limits(unit=0.1, clock=lambda: now[0])
    assert [limits.take(SENDS, "1").refused for _ in range(6)] == [False] * 5 + [True]
    assert limits.take(SENDS, "2").retry_after is None
    now[0] = 0.49
    assert limits.take(SENDS, "1").retry_after == pytest.approx(0.01, abs=0.0011)
    now[0] = 0.5
    assert limits.take(SENDS, "1").headers["X-RateLimit-Remaining"] == "4"


async def test_the_third_rename_waits_ten_minutes_and_no_header_said_so() -> None:
    async with scene(unit=0.0005) as one:
        thread = await one.there.create_thread(name="0", type=discord.ChannelType.public_thread)
        began = time.monotonic()
        for n in (1, 2, 3):
            await thread.edit(name=str(n))
        assert time.monotonic() - began >= 600 * 0.0005 - 0.01
        kept = await one.server.wait_for_thread(one.channel)
        assert [name for _, name in kept.names] == ["0", "1", "2", "3"]
        (late,) = one.server.rate_limited
        assert (late.route, late.json) == (rest.CHANNEL, {"name": "3"})
        assert one.server.answered_429 == [late]
        assert [call.status for call in one.server.requests_to("PATCH", rest.CHANNEL)] == [200, 200, 429, 200]


async def test_reactions_go_one_at_a_time() -> None:
    async with scene(unit=0.1) as one:
        message = await one.there.send("hello")
        began = time.monotonic()
        for emoji in "👀🤔🔥":
            await message.add_reaction(emoji)
        # The client waits out the bucket before it returns.
        assert time.monotonic() - began >= 3 * 0.025
        assert one.server.rate_limited == []


# faults


async def test_a_message_that_was_made_before_the_500_is_made_once() -> None:
    async with scene() as one:
        one.server.faults.status(500, "POST", rest.MESSAGES, when="after")
        sent = await one.there.send("once")
        first, second = one.server.requests_to("POST", rest.MESSAGES)
        assert (first.status, second.status) == (500, 200)
        assert first.json["nonce"] == second.json["nonce"]
        assert [m.id for m in one.server.messages] == [sent.id]
        await one.hears("once")


@pytest.mark.parametrize(("status", "error"), [(503, "DiscordServerError"), (403, "Forbidden"), (404, "NotFound")])
async def test_a_status_on_demand_for_the_second_call(status: int, error: str) -> None:
    async with scene() as one:
        fault = one.server.faults.status(status, "POST", rest.MESSAGES, nth=2)
        await one.there.send("one")
        with pytest.raises(getattr(discord, error)):
            await one.there.send("two")
        await one.there.send("three")
        assert [m.content for m in one.server.messages] == ["one", "three"]
        assert (fault.matched, fault.hits) == (3, 1)


async def test_a_429_on_demand_is_obeyed_and_one_without_via_is_not() -> None:
    async with scene() as one:
        one.server.faults.too_many("POST", rest.MESSAGES, retry_after=0.1)
        began = time.monotonic()
        await one.there.send("patience")
        assert time.monotonic() - began >= 0.1
        one.server.faults.too_many("POST", rest.MESSAGES, retry_after=0.1, via=False)
        with pytest.raises(discord.HTTPException) as banned:
            await one.there.send("banned")
        assert banned.value.status == 429
        assert one.server.rate_limited == []


@pytest.mark.parametrize(("when", "made"), [("before", []), ("after", ["gone?"])])
@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_is_cut_before_or_after_the_effect(when: str, made: list[str], *, reset: bool) -> None:
    async with scene() as one:
        one.server.faults.abort("POST", rest.MESSAGES, when=when, reset=reset)
        with pytest.raises(aiohttp.ClientError) as lost:
            await one.there.send("gone?")
        assert getattr(lost.value, "errno", None) == (104 if reset else None)
        assert [m.content for m in one.server.messages] == made
        assert one.server.requests_to("POST", rest.MESSAGES)[0].status is None


async def test_a_call_can_be_held_and_delayed_and_chosen_by_its_body() -> None:
    async with scene() as one:
        held = one.server.faults.hold("POST", rest.MESSAGES, where=lambda call: call.json["content"] == "later")
        one.server.faults.delay(0.05, "DELETE", "*")
        later = asyncio.create_task(one.there.send("later"))
        await held.arrived.wait()
        assert one.server.messages == []
        held.release()
        sent = await later
        began = time.monotonic()
        await sent.delete()
        assert time.monotonic() - began >= 0.05


async def test_a_wrong_token_is_a_login_failure() -> None:
    async with DiscordServer() as server:
        with pytest.raises(discord.LoginFailure):
            async with running(server, Bot(server), token="wrong"):
                pytest.fail("it logged in")
        assert [(c.route, c.status) for c in server.requests] == [(rest.ME, 401)]


async def test_an_intent_that_was_not_granted_ends_the_client() -> None:
    async with DiscordServer(privileged=()) as server:
        with pytest.raises(discord.PrivilegedIntentsRequired):
            async with running(server, Bot(server)):
                pytest.fail("it connected")
        assert server.gateway.closes == [4014]


async def test_after_a_stop_the_server_is_back_on_the_same_port_with_its_state() -> None:
    async with DiscordServer() as server, raw(server) as http:
        channel = server.make_channel(server.make_guild())
        base = server.api_base
        await server.stop()
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"{base}/users/@me")
        await server.start()
        assert server.api_base == base
        async with http.get(f"{base}/channels/{channel.id}") as response:
            assert (await response.json())["name"] == "general"


async def test_an_interaction_waits_for_its_answer_only_so_long() -> None:
    async with DiscordServer(interaction_seconds=0.0) as server, raw(server) as http:
        guild = server.make_guild()
        ada, channel = server.make_user("ada", guild), server.make_channel(guild)
        click = ada.sends_click(ada.says(channel, "hello"), "button")
        url = f"{server.api_base}/interactions/{click.id}/{click.token}/callback"
        async with http.post(url, json={"type": 4, "data": {"content": "late"}}) as late:
            assert (late.status, (await late.json())["code"]) == (404, 10062)
        assert not click.answered


# the gateway


async def test_after_a_cut_the_session_is_resumed_and_nothing_is_lost_or_doubled() -> None:
    async with scene() as one:
        one.ada.says(one.channel, "before")
        await one.hears("before")
        one.server.gateway.cut()
        for n in range(5):
            one.ada.says(one.channel, str(n))
        await one.server.wait_for(lambda: one.bot.resumed)
        one.ada.says(one.channel, "after")
        await one.hears("before", "0", "1", "2", "3", "4", "after")
        gateway = one.server.gateway
        assert (gateway.identifies, gateway.resumes, gateway.replayed) == (1, 1, 5)
        assert gateway.paths == ["/gateway/", "/gateway/resume"]


@pytest.mark.parametrize("how", ["op 7", "op 9", "4000", "1000", "1001"])
async def test_what_makes_a_client_resume(how: str) -> None:
    async with scene() as one:
        gateway = one.server.gateway
        if how == "op 7":
            await gateway.reconnect()
        elif how == "op 9":
            await gateway.invalidate(resumable=True)
        else:
            await gateway.close(int(how))
        one.ada.says(one.channel, "meanwhile")
        ends = how in ("1000", "1001")
        await one.server.wait_for(lambda: gateway.resumes == (0 if ends else 1) and gateway.identifies == 1 + ends)
        if not ends:
            await one.hears("meanwhile")


async def test_an_invalidated_session_is_begun_anew() -> None:
    async with scene() as one:
        gateway = one.server.gateway
        await gateway.invalidate()
        await one.server.wait_for(lambda: gateway.identifies == 2)
        await one.server.wait_until_connected()
        one.ada.says(one.channel, "again")
        await one.hears("again")
        assert gateway.resumes == 0


async def test_a_session_that_timed_out_refuses_its_resume() -> None:
    async with scene() as one:
        await one.server.gateway.close(4009)
        await one.server.wait_for(lambda: one.server.gateway.identifies == 2)
        assert one.server.gateway.paths == ["/gateway/", "/gateway/resume", "/gateway/resume"]


@pytest.mark.parametrize("code", [4004, 4013])
async def test_a_close_code_that_ends_the_client(code: int) -> None:
    async with scene() as one:
        await one.server.gateway.close(code)
        error = await one.running.ended()
        assert isinstance(error, discord.ConnectionClosed)
        assert error.code == code


async def test_a_half_open_connection_is_noticed_by_its_silence() -> None:
    async with scene(heartbeat_interval=0.1, options={"heartbeat_timeout": 0.4}) as one:
        await one.server.wait_for(lambda: one.server.gateway.heartbeats >= 3)
        one.server.gateway.half_open()
        one.ada.says(one.channel, "unheard")
        assert not one.server.gateway.connected
        await one.hears("unheard")
        assert (one.server.gateway.identifies, one.server.gateway.resumes) == (1, 1)


async def test_a_deaf_connection_does_not_even_see_the_client_close() -> None:
    patience = aiohttp.ClientWSTimeout(ws_close=0.05)
    async with DiscordServer() as server, raw(server) as http:
        ws = await http.ws_connect(server.gateway_url, timeout=patience)
        await ws.receive()
        server.gateway.half_open(deaf=True)
        await ws.close()
        assert ws.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
        assert len(server.gateway.connections) == 1


async def test_the_client_comes_back_when_the_gateway_takes_it_again() -> None:
    async with scene() as one:
        gateway = one.server.gateway
        gateway.refuse(503)
        gateway.cut()
        one.ada.says(one.channel, "meanwhile")
        await one.server.wait_for(lambda: gateway.refused == 1)
        gateway.accept()
        await one.hears("meanwhile")
        assert (gateway.identifies, gateway.resumes) == (1, 1)


async def test_a_malformed_dispatch_ends_the_client() -> None:
    async with scene() as one:
        one.server.gateway.malformed("MESSAGE_CREATE")
        assert isinstance(await one.running.ended(), KeyError)


async def test_the_gateway_refuses_for_a_while() -> None:
    async with DiscordServer() as server, raw(server) as http:
        server.gateway.refuse()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await http.ws_connect(server.gateway_url)
        server.gateway.refuse(503)
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(server.gateway_url)
        server.gateway.accept()
        async with http.ws_connect(server.gateway_url) as ws:
            assert (await ws.receive_json())["op"] == 10
        assert server.gateway.refused == 3  # aiohttp tries a GET again, once, when its connection is cut


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", 4002),
        ('{"op": 3, "d": {}}', 4003),
        ('{"op": 2, "d": {"token": "wrong", "intents": 0}}', 4004),
        ('{"op": 2, "d": {"token": "a.made-up.token", "intents": "all"}}', 4013),
    ],
)
async def test_what_the_gateway_closes_for(frame: str, code: int) -> None:
    async with DiscordServer() as server, raw(server) as http, http.ws_connect(server.gateway_url) as ws:
        await ws.receive()
        await ws.send_str(frame)
        await ws.receive()
        assert ws.close_code == code
