"""What Discord shows below the bot's name: how many threads it works in, or that it restarts.

Discord takes five updates in 20 s from one connection, and forgets the last one when a new session begins.
Source: https://discord.com/developers/docs/events/gateway-events#update-presence.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import discord

from acpbot.aio import TaskSet
from acpbot.chat.discord.access import PLATFORM
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.gateway.supervisor import GatewayStatus
    from acpbot.chat.discord.outbound.rest import Rest
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

PRESENCE_SECONDS: Final = 15.0
"""Between two updates."""
LOOK_SECONDS: Final = 1.0


def presence_text(*, working: int, restarting: bool) -> str:
    """The status; empty where there is nothing to show. ``working``: the threads in which a turn runs."""
    if restarting:
        return "restarting"
    return f"{working} working" if working else ""


class Presence:
    """Looks at the pool every second, and tells Discord where the status has changed: once in ``seconds`` at most."""

    def __init__(
        self,
        pool: Pool,
        rest: Rest,
        status: GatewayStatus,
        seconds: float = PRESENCE_SECONDS,
        on_crash: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._pool = pool
        self._rest = rest
        self._status = status
        self._seconds = seconds
        self._tasks = TaskSet("discord presence", on_crash)
        self._shown = ""

    def start(self) -> None:
        """Begin; once for the process."""
        self._tasks.keep(self._run, name="presence", endless=True)

    async def close(self) -> None:
        """Show nothing more."""
        await self._tasks.cancel()

    def session_begins(self) -> None:
        """A new session of the gateway begins, of which Discord shows nothing yet."""
        self._shown = ""

    async def _run(self) -> None:
        while True:
            told = await self._update()
            await asyncio.sleep(self._seconds if told else min(self._seconds, LOOK_SECONDS))

    async def _update(self) -> bool:
        """Tell Discord where the status has changed; whether it was told."""
        sessions = [one for one in self._pool.sessions() if one.thread.platform == PLATFORM]
        working = sum(session.turns.turn is not None for session in sessions)
        wanted, client = presence_text(working=working, restarting=self._pool.draining), self._rest.client
        if client is None or not self._status.connected or wanted == self._shown:
            return False
        try:
            await client.change_presence(activity=discord.CustomActivity(wanted) if wanted else None)
        except Exception as error:  # noqa: BLE001 - whatever a connection that just ends makes the library raise
            log.info("presence_not_shown", error=str(error) or type(error).__name__)
        else:
            self._shown = wanted
        return True
