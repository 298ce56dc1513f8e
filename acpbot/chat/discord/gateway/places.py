"""What the gateway has said of servers and channels: where the bot can work, and which permissions it lacks there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.chat.discord import permissions
from acpbot.chat.discord.permissions import Place, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from acpbot.chat.discord.access import CurrentSettings

LOOK_SECONDS: Final = 10.0
_PROBLEMS_MOST: Final = 10


def missing_permissions(channel: Any) -> tuple[str, ...]:
    """The permissions that the bot needs in a channel and lacks; none where the library does not know the channel."""
    guild = getattr(channel, "guild", None)
    me = None if guild is None else guild.me
    if me is None or not isinstance(channel, discord.abc.GuildChannel | discord.Thread):
        return ()
    return permissions.missing(channel.type.value, _held(channel, me))


def servers_of(client: discord.Client, named: Collection[str]) -> tuple[list[Server], int]:
    """The servers that the bot is in, with all their channels, and of their active threads those that are ``named``.

    Those that Discord has not described yet, or that have an outage, are only counted.
    """
    found: list[Server] = []
    unknown = 0
    for guild in client.guilds:
        me = guild.me
        if guild.unavailable or me is None:
            unknown += 1
            continue
        known = [*guild.channels, *(thread for thread in guild.threads if str(thread.id) in named)]
        places = [Place(str(one.id), one.name, one.type.value, _held(one, me)) for one in known]
        found.append(Server(guild.name, places))
    return found, unknown


def _held(channel: discord.abc.GuildChannel | discord.Thread, me: discord.Member) -> int:
    """What the roles and the overwrites give. ``permissions_for`` also takes away what needs a permission that is gone.

    A person who mends the permissions needs to know which of them is missing, not what follows from that.
    """
    if isinstance(channel, discord.Thread):
        parent = channel.parent
        return channel.permissions_for(me).value if parent is None else _held(parent, me)
    overwrites = []
    for target, overwrite in channel.overwrites.items():
        allow, deny = overwrite.pair()
        overwrites.append((str(target.id), allow.value, deny.value))
    roles = {str(role.id): role.permissions.value for role in channel.guild.roles}
    held_by = [str(role.id) for role in me.roles]
    return permissions.held_in(overwrites, roles, held_by, str(me.id), str(channel.guild.id))


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
        settings = self._settings.discord
        if client is None or client.application_id is None:
            return None
        if self._seen is not None and self._seen[0] is settings and self._clock() - self._seen[1] < LOOK_SECONDS:
            return self._problem
        servers, unknown = servers_of(client, {*settings.allowed_channels, *settings.channels})
        if unknown and not servers:
            return None
        lines = permissions.report(settings, servers, str(client.application_id), more=unknown)
        problems = [line for ok, line in lines if not ok]
        more = f"; and {len(problems) - _PROBLEMS_MOST} more" if problems[_PROBLEMS_MOST:] else ""
        self._problem = "; ".join(problems[:_PROBLEMS_MOST]) + more or None
        self._seen = settings, self._clock()
        return self._problem
