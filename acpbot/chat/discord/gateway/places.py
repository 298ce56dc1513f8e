"""What the gateway has said of servers and channels: where the bot can work, and which permissions it lacks there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpbot.chat.discord import permissions
from acpbot.chat.discord.permissions import Place, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    import discord

    from acpbot.chat.discord.access import CurrentSettings

LOOK_SECONDS: Final = 10.0
_PROBLEMS_MOST: Final = 10


def missing_permissions(channel: Any) -> tuple[str, ...]:
    """The permissions that the bot needs in a channel and lacks; none where the library does not know the channel."""
    guild = getattr(channel, "guild", None)
    me = None if guild is None else guild.me
    if me is None or not hasattr(channel, "permissions_for"):
        return ()
    return permissions.missing(channel.type.value, channel.permissions_for(me).value)


def servers_of(client: discord.Client) -> list[Server] | None:
    """The servers that the bot is in, with all their channels; ``None`` until Discord has described each of them."""
    found: list[Server] = []
    for guild in client.guilds:
        me = guild.me
        if guild.unavailable or me is None:
            return None
        places = [Place(str(one.id), one.name, one.type.value, one.permissions_for(me).value) for one in guild.channels]
        found.append(Server(guild.name, places))
    return found


class PlacesCheck:
    """What keeps the bot from its work in the channels where it is allowed, for health.

    There may be thousands of channels, and health is asked for often: it looks every ten seconds at most. ``clock``:
    monotonic seconds.
    """

    def __init__(self, settings: CurrentSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._seen: tuple[object, float] | None = None
        self._problem: str | None = None

    def problem(self, client: discord.Client | None) -> str | None:
        """One line; ``None`` where there is no problem, and where nothing is known: call it only while connected."""
        discord = self._settings.discord
        if client is None or client.application_id is None:
            return None
        if self._seen is not None and self._seen[0] is discord and self._clock() - self._seen[1] < LOOK_SECONDS:
            return self._problem
        servers = servers_of(client)
        if servers is None:
            return None
        lines = permissions.report(discord, servers, str(client.application_id))
        problems = [line for ok, line in lines if not ok]
        more = f"; and {len(problems) - _PROBLEMS_MOST} more" if problems[_PROBLEMS_MOST:] else ""
        self._problem = "; ".join(problems[:_PROBLEMS_MOST]) + more or None
        self._seen = discord, self._clock()
        return self._problem
