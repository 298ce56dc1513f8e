"""The real discord.py, pointed at a :class:`DiscordServer`: nothing of it is replaced but two addresses."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import discord

    from tests.fakes.discord.server import DiscordServer

CLOSE_SECONDS = 1.0


@contextmanager
def pointed_at(server: DiscordServer) -> Iterator[None]:
    """`Route.BASE` and `DEFAULT_GATEWAY` for the time of the block."""
    base, default = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = server.api_base, yarl.URL(server.gateway_url)
    try:
        yield
    finally:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = base, default


@dataclass(eq=False)
class Running:
    """A client at work: the task of its `connect()`."""

    task: asyncio.Task[None]
    expected: bool = False

    async def ended(self, seconds: float = 5.0) -> BaseException | None:
        """What `connect()` ended with; from then on the end of the block does not raise it."""
        self.expected = True
        await asyncio.wait({self.task}, timeout=seconds)
        assert self.task.done(), f"the client is still connected after {seconds} s"
        return self.task.exception()

    async def finish(self) -> None:
        """Takes the task's result; it may be in one of the client's own pauses, up to minutes long, before a retry."""
        await asyncio.wait({self.task}, timeout=CLOSE_SECONDS)
        if not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task})
        elif not self.expected:
            await self.task


@asynccontextmanager
async def running(server: DiscordServer, client: discord.Client, *, token: str | None = None) -> AsyncIterator[Running]:
    """The client logged in, connected and ready; closed in every case.

    What `login()` raises, and what ends `connect()` before the client is ready, is raised here; what ends it later
    is raised at the end of the block, unless the block has asked for it by :meth:`Running.ended`.
    Give the client ``guild_ready_timeout=0.05``: it waits that long (2 s by default) for further guilds.
    """
    with pointed_at(server):
        try:
            await client.login(server.token if token is None else token)
            at_work = Running(asyncio.create_task(client.connect(), name="client.connect"))
            ready = asyncio.create_task(client.wait_until_ready())
            try:
                await asyncio.wait({at_work.task, ready}, return_when=asyncio.FIRST_COMPLETED)
                if not at_work.task.done():
                    yield at_work
            finally:
                ready.cancel()
                await client.close()
                await at_work.finish()
        finally:
            await client.close()
