"""A Discord on loopback: the REST API, the gateway and the CDN that discord.py 2.7 needs, and controls for tests.

>>> async with DiscordServer(unit=0.01) as server:
...     guild = server.make_guild("guild")
...     ada = server.make_user("ada", guild)
...     channel = server.make_channel(guild, "general")
...     async with running(server, client):  # tests.fakes.discord.client
...         ada.says(channel, "fix the tests", mentions=[server.bot])
...         answer = await server.wait_for_message(channel, lambda m: m.author is server.bot)
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aiohttp import web

from tests.fakes.discord import gateway as gw
from tests.fakes.discord import rest, state
from tests.fakes.discord.basics import Basics
from tests.fakes.discord.channels import Channels
from tests.fakes.discord.faults import Faults
from tests.fakes.discord.interactions import Interaction, Interactions
from tests.fakes.discord.limits import Limits
from tests.fakes.discord.people import Author
from tests.fakes.discord.rest import Call, Rest, with_limit
from tests.fakes.discord.state import Channel, Guild, Member, Message, Role, User
from tests.fakes.discord.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

APPLICATION_FLAGS = {"presences": 1 << 13, "members": 1 << 15, "message_content": 1 << 19}
WAIT_SECONDS = 20.0
T = TypeVar("T")


class DiscordServer:
    """All of it. Everything runs in the loop that called `start`.

    `unit` is how many real seconds one second of the rate limits takes (0.01: five edits in 0.05 s). Interactions
    wait `interaction_seconds` real seconds for their first answer whatever the unit is: an answer takes what it takes.
    `privileged` names the intents that the application has been granted.
    """

    def __init__(
        self,
        *,
        unit: float = 1.0,
        token: str = "a.made-up.token",  # noqa: S107  it opens nothing but this server
        heartbeat_interval: float = 41.25,
        interaction_seconds: float = 3.0,
        privileged: Iterable[str] = ("members", "message_content", "presences"),
    ) -> None:
        self.token = token
        self.world = World()
        self.faults = Faults()
        self.limits = Limits(unit)
        self.rest = Rest(self.world, self.limits, self.faults, token)
        granted = set(privileged)
        self.gateway = gw.Gateway(self.world, token=token, heartbeat_interval=heartbeat_interval, privileged=granted)
        self.world.gateway = self.gateway
        self.world.application_flags = sum(APPLICATION_FLAGS[name] for name in granted)
        self.interactions = Interactions(self.world, seconds=interaction_seconds)
        self.channels = Channels(self.world)
        self.port = 0
        self._runner: web.AppRunner | None = None

    # running

    async def start(self) -> None:
        """Listens on a free port; again after `stop`, on the same one and with everything as it was."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/gateway/", self.gateway.serve)
        app.router.add_get("/gateway/resume", self.gateway.serve)
        tables = (Basics(self.world).table(), self.channels.table(), self.interactions.table())
        self.rest.register(app, {key: endpoint for table in tables for key, endpoint in table.items()})
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener).start()
        self.world.cdn = f"http://127.0.0.1:{self.port}"
        self.gateway.url = f"ws://127.0.0.1:{self.port}/gateway"

    async def stop(self) -> None:
        """Drops every connection and listens no more. The state stays."""
        self.faults.clear()
        self.gateway.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def api_base(self) -> str:
        """What `discord.http.Route.BASE` is to be."""
        return f"http://127.0.0.1:{self.port}{rest.API}"

    @property
    def gateway_url(self) -> str:
        """What `discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY` is to be, as a yarl.URL."""
        return f"{self.gateway.url}/"

    # making

    @property
    def bot(self) -> User:
        """The bot's own user."""
        return self.world.bot

    def make_guild(self, name: str = "guild") -> Guild:
        """A guild with the bot in it; its owner is a user nobody plays."""
        return self.world.add_guild(name, self.make_user(f"owner of {name}"))

    def make_role(self, guild: Guild, name: str, permissions: Iterable[str] = ()) -> Role:
        """`permissions` are names out of :data:`tests.fakes.discord.state.PERMISSIONS`, beyond what everyone has."""
        return self.world.add_role(guild, name, permissions)

    def make_user(self, name: str, guild: Guild | None = None, roles: Iterable[Role] = ()) -> Author:
        """A user, who is a member of `guild` when one is given."""
        person = Author(self.world.snowflake(), name, server=self)
        self.world.users[person.id] = person
        if guild is not None:
            self.world.set_member(guild, person, roles)
        return person

    def give_roles(self, guild: Guild, user: User, roles: Iterable[Role]) -> Member:
        """The user's roles in the guild from now on: just these."""
        return self.world.set_member(guild, user, roles)

    def remove_member(self, guild: Guild, user: User) -> None:
        """The user has left the guild."""
        self.world.remove_member(guild, user)

    def webhook_says(self, webhook: User, channel: Channel, text: str, **fields: Any) -> Message:
        """A message by a webhook: its author has the webhook's id, and whatever name it likes; it is no member."""
        return self.world.post(channel, webhook, text, webhook_id=webhook.id, **fields)

    def make_webhook(self, name: str) -> User:
        """A webhook, as the author of its messages."""
        webhook = User(self.world.snowflake(), name, bot=True)
        self.world.users[webhook.id] = webhook
        return webhook

    def make_channel(self, guild: Guild, name: str = "general", *, topic: str | None = None) -> Channel:
        return self.world.add_channel(Channel(self.world.snowflake(), state.TEXT, name, guild, topic=topic))

    def make_forum(self, guild: Guild, name: str = "help", *, media: bool = False) -> Channel:
        """A forum, or media, channel: it has posts, and no messages of its own."""
        kind = state.MEDIA if media else state.FORUM
        return self.world.add_channel(Channel(self.world.snowflake(), kind, name, guild))

    def make_thread(self, parent: Channel, owner: User, name: str, *, from_message: Message | None = None) -> Channel:
        """A public thread that `owner` (a person, or `server.bot`) has started."""
        return self.world.start_thread(parent, owner, name, origin=from_message)

    def dm(self, user: User) -> Channel:
        """The DM channel between this user and the bot."""
        return self.world.dm(user)

    def set_permissions(
        self, channel: Channel, target: User | Role, *, allow: Iterable[str] = (), deny: Iterable[str] = ()
    ) -> None:
        """The overwrite of `target` in `channel`; deny VIEW_CHANNEL to the bot and it hears nothing (50001)."""
        self.world.set_overwrite(channel, target, allow, deny)

    def delete_channel(self, channel: Channel) -> None:
        self.world.delete_channel(channel)

    # looking

    @property
    def messages(self) -> list[Message]:
        """Every message there ever was, deleted and ephemeral ones too, oldest first."""
        return self.world.messages

    def messages_in(self, channel: Channel, *, by: User | None = None) -> list[Message]:
        """The messages there now, oldest first, those of Discord's own and ephemeral ones too."""
        return [one for one in channel.messages.values() if by is None or one.author is by]

    def threads_of(self, channel: Channel) -> list[Channel]:
        return [one for one in self.world.channels.values() if one.parent is channel]

    @property
    def requests(self) -> list[Call]:
        """Every request, in the order in which they came, refused and failed ones too."""
        return self.rest.calls

    def requests_to(self, method: str, route: str) -> list[Call]:
        """Those to one route (a template of :mod:`tests.fakes.discord.rest`)."""
        return [call for call in self.requests if (call.method, call.route) == (method, route)]

    @property
    def rate_limited(self) -> list[Call]:
        """The requests that went over a limit (429s on demand are not among them). The aim of a good client: none."""
        return [call for call in self.requests if call.limited]

    @property
    def answered_429(self) -> list[Call]:
        """Every request that got a 429, those on demand too."""
        return [call for call in self.requests if call.status == 429]

    @property
    def unserved(self) -> list[Call]:
        """The requests that this server does not know how to answer."""
        return [call for call in self.requests if call.route == "?"]

    @property
    def nonces(self) -> list[str]:
        """The nonces of the bot's messages, in order; a message that was created twice would show twice."""
        return [one.nonce for one in self.messages if one.nonce is not None]

    def commands(self, guild: Guild | None = None) -> list[dict[str, Any]]:
        """The registered application commands of a guild, or the global ones."""
        return self.interactions.commands.get(None if guild is None else guild.id, [])

    # waiting

    def notify(self) -> None:
        """Has the waits look again: for a predicate that asks something else than this server (what a client heard)."""
        self.world.notify()

    async def wait_for(self, predicate: Callable[[], T | None], *, seconds: float = WAIT_SECONDS, what: str = "") -> T:
        """The first true value of `predicate`, asked again after every change. AssertionError after `seconds`."""

        async def until() -> T:
            while not (value := predicate()):
                await self.world.change()
            return value

        result: T = await with_limit(until(), seconds, lambda: self._report(what or "a condition", seconds))
        return result

    async def wait_for_message(
        self,
        channel: Channel,
        predicate: Callable[[Message], object] = lambda _message: True,
        *,
        seconds: float = WAIT_SECONDS,
    ) -> Message:
        """The first message of the bot's in `channel` (ephemeral ones too) that `predicate` accepts, now or later."""

        def found() -> Message | None:
            mine = self.messages_in(channel, by=self.bot)
            return next((one for one in mine if predicate(one)), None)

        message = await self.wait_for(found, seconds=seconds, what=f"a message in #{channel.name}")
        assert message is not None
        return message

    async def wait_for_thread(self, channel: Channel, *, seconds: float = WAIT_SECONDS) -> Channel:
        """The newest thread of `channel`, as soon as there is one."""
        found = await self.wait_for(
            lambda: self.threads_of(channel), seconds=seconds, what=f"a thread in #{channel.name}"
        )
        return found[-1]

    async def wait_for_answer(self, interaction: Interaction, *, seconds: float = WAIT_SECONDS) -> Interaction:
        """The interaction, once the bot has said something to it: a deferral alone is no answer."""
        await self.wait_for(
            lambda: interaction.answered and (interaction.response_type != 5 or bool(interaction.answer_text)),
            seconds=seconds,
            what="an answer to the interaction",
        )
        return interaction

    async def wait_until_connected(self, *, seconds: float = WAIT_SECONDS) -> None:
        """Returns when a session is up and has been sent everything that it is owed."""
        await self.wait_for(lambda: self.gateway.connected, seconds=seconds, what="a gateway session")

    async def wait_for_request(self, method: str, route: str, count: int = 1, *, seconds: float = WAIT_SECONDS) -> Call:
        """The `count`-th request to the route that has been answered or cut."""

        def finished() -> list[Call]:
            return [call for call in self.requests_to(method, route) if call.finished]

        await self.wait_for(lambda: len(finished()) >= count, seconds=seconds, what=f"{method} {route}")
        return finished()[count - 1]

    def _report(self, what: str, seconds: float) -> str:
        """What was waited for, and what came instead."""
        calls = [f"  {call!r}" for call in self.requests[-12:]]
        said = [f"  {message!r}"[:200] for message in self.messages[-8:]]
        gate = self.gateway
        lines = [
            f"{what} did not come within {seconds} s",
            f"identifies {gate.identifies}, resumes {gate.resumes}, connections {len(gate.connections)}",
            "the last requests:",
            *calls,
            "the last messages:",
            *said,
        ]
        return "\n".join(lines)
