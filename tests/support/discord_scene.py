"""A Discord on loopback, a pool of demo agents, and the chat between them: all real but Discord itself."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from discord.gateway import DiscordWebSocket, KeepAliveHandler
from discord.http import Route

from acpbot.aio import Backoff
from acpbot.chat.discord.discord_chat import DiscordChat
from acpbot.chat.discord.gateway.presence import PRESENCE_SECONDS
from acpbot.chat.discord.gateway.supervisor import SILENCE_SECONDS
from acpbot.chat.discord.interactions.commands import PROMPT_SECONDS
from acpbot.chat.discord.outbound.throttle import Throttle
from acpbot.config.settings import (
    AgentSettings,
    DiscordSettings,
    MarkdownSettings,
    PoolSettings,
    ReactionSettings,
    Settings,
    StoreSettings,
    TimingSettings,
)
from tests.fakes.discord.people import is_system
from tests.fakes.discord.server import DiscordServer
from tests.support.pool import Harness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.fakes.discord.people import Author
    from tests.fakes.discord.state import Channel, Message

    Setup = Callable[["Scene"], dict[str, Any]]

QUICK = Backoff(first=0.01, most=0.05)
TIMING = TimingSettings(debounce_ms=0, stall_soft_ms=0, stall_hard_ms=0)


class Clock:
    """The real one, which a test may set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Scene:
    """A server with a channel, two people who may use the bot, and one who may not."""

    def __init__(
        self,
        server: DiscordServer,
        harness: Harness,
        tmp_path: Path,
        setup: Setup,
        timing: dict[str, Any],
        **discord: Any,
    ) -> None:
        self.server = server
        self.harness = harness
        self.pool = harness.pool
        self.guild = server.make_guild("home")
        self.channel: Channel = server.make_channel(self.guild, "general")
        self.ada: Author = server.make_user("ada", self.guild)
        self.bob: Author = server.make_user("bob", self.guild)
        self.eve: Author = server.make_user("eve", self.guild)
        discord |= setup(self)
        allowed: dict[str, Any] = {
            "bot_token": server.token,
            "allow_all_channels": True,
            "footer": False,
            "allowed_users": (str(self.ada.id), str(self.bob.id)),
            "allow_user_messages": "involved",
        }
        self.settings = Settings(
            default_agent="demo",
            discord=DiscordSettings(api_base=server.api_base, gateway_url=server.gateway_url, **(allowed | discord)),
            agents={"demo": AgentSettings(name="demo", command="demo")},
            pool=PoolSettings(workspace=tmp_path),
            reactions=ReactionSettings(timing=TIMING),
            markdown=MarkdownSettings(),
            store=StoreSettings(path=tmp_path / "acpbot.sqlite3"),
        )
        self.timing = timing
        self.clock = Clock()
        self.chat = self.make_chat()
        self.chat.recover()  # as the daemon does
        self.task: asyncio.Task[None] | None = None

    def make_chat(self) -> DiscordChat:
        throttle = Throttle(per=self.server.limits.unit)
        return DiscordChat(
            self.settings,
            self.pool,
            clock=self.clock,
            delivery=QUICK,
            reconnect=QUICK,
            throttle=throttle,
            identify_seconds=0.05,
            **self.timing,
        )

    async def restart(self) -> None:
        """Another chat in the place of this one, which says nothing more: as after a crash."""
        await self.chat.outbox.close()
        await self.stop()
        self.chat = self.make_chat()
        await self.start()

    async def start(self, *, registered: bool = True) -> None:
        """Connect; ``registered``: and wait until the commands are there."""
        self.task = asyncio.create_task(self.chat.run(), name="chat")
        connected = asyncio.create_task(self.server.wait_until_connected())
        await asyncio.wait({self.task, connected}, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            connected.cancel()
            ended, self.task = self.task, None
            await ended
        await connected
        if registered:
            await self.server.wait_for(self.server.commands, what="the commands")

    async def stop(self) -> None:
        await self.chat.close()
        if self.task is not None:
            await asyncio.wait_for(self.task, 20)

    def asks(self, text: str, who: Author | None = None, **more: Any) -> Message:
        """Somebody (ada) mentions the bot in the channel."""
        return (who or self.ada).says(self.channel, text, mentions=[self.server.bot], **more)

    def asks_in(self, thread: Channel, text: str) -> Message:
        """Ada mentions the bot in a thread."""
        return self.ada.says(thread, text, mentions=[self.server.bot])

    async def opens(self, text: str) -> Channel:
        """The thread that a mention opens."""
        self.asks(text)
        return await self.server.wait_for_thread(self.channel)

    def bodies(self, thread: Channel) -> list[Message]:
        """What the bot says in the thread now."""
        mine = self.server.messages_in(thread, by=self.server.bot)
        return [one for one in mine if not is_system(one) and not one.deleted and not one.ephemeral]

    def text(self, thread: Channel) -> str:
        return "\n".join(one.content for one in self.bodies(thread))

    async def says(self, thread: Channel, *words: str, seconds: float = 20.0) -> str:
        """Wait until the bot's messages in the thread hold all these words."""
        await self.server.wait_for(
            lambda: all(word in self.text(thread) for word in words), seconds=seconds, what=f"{words} in the thread"
        )
        return self.text(thread)

    async def idle(self, thread: Channel, turns: int) -> None:
        """Wait until the thread has had so many turns, and everything is delivered."""
        await self.server.wait_for(
            lambda: self.chat.outbox is not None and self.turns(thread) >= turns, seconds=20, what=f"{turns} turns"
        )
        assert await self.chat.outbox.flush(20)

    def turns(self, thread: Channel) -> int:
        known = self.pool.thread(str(thread.id))
        return 0 if known is None else known.turns


def beating() -> list[str]:
    """The threads that would still send heartbeats for a client; each ends soon after it is stopped."""
    loop = asyncio.get_running_loop()
    hearts = [one for one in threading.enumerate() if isinstance(one, KeepAliveHandler) and one.ws.loop is loop]
    for heart in hearts:
        heart.join(0.2)
    return [heart.name for heart in hearts if heart.is_alive()]


@contextmanager
def default_addresses() -> Iterator[None]:
    """Restore discord.py's own addresses of Discord afterwards: a chat changes them for the whole process."""
    base, gateway = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    try:
        yield
    finally:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = base, gateway


@asynccontextmanager
async def staged(
    tmp_path: Path,
    *,
    unit: float = 0.01,
    limits: dict[str, Any] | None = None,
    setup: Setup = lambda _scene: {},
    faults: Callable[[DiscordServer], None] = lambda _server: None,
    privileged: tuple[str, ...] = ("message_content",),
    heartbeat: float = 41.25,
    patience: float = 60.0,
    silence: float = SILENCE_SECONDS,
    prompt: float = PROMPT_SECONDS,
    presence: float = PRESENCE_SECONDS,
    interaction_seconds: float = 3.0,
    registered: bool = True,
    **discord: Any,
) -> AsyncIterator[Scene]:
    """A scene with the chat connected; what the server did not know, and every 429, fails the test.

    ``setup`` gives settings of [discord] that need to know the people.
    """
    timing: dict[str, Any] = {"patience": patience, "silence": silence, "prompt": prompt, "presence": presence}
    harness = Harness(tmp_path, **(limits or {}))
    try:
        with default_addresses():
            async with DiscordServer(
                unit=unit,
                privileged=privileged,
                heartbeat_interval=heartbeat,
                interaction_seconds=interaction_seconds,
            ) as server:
                faults(server)
                scene = Scene(server, harness, tmp_path / "workspaces", setup, timing, **discord)
                leave = harness.pool.subscribe(lambda _change, _row: server.notify())
                try:
                    await scene.start(registered=registered)
                    yield scene
                finally:
                    leave()
                    await harness.pool.close(grace_seconds=0.5)
                    await scene.stop()
                assert server.unserved == []
                assert server.rate_limited == []
                assert beating() == []
    finally:
        await harness.launcher.aclose()
