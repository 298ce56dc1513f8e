"""Which permissions the bot needs in a channel, which of them it lacks, and where it can work at all.

It knows no client: `acpbot check --online` makes the servers of Discord's answers, the daemon of what the gateway has
said. Source: docs.discord.com, "Permissions" (bits, and how overwrites are applied), "Channel" (types).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import msgspec

from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from acpbot.config.settings import DiscordSettings

PERMISSIONS: Final = {
    "Add Reactions": 1 << 6,
    "View Channels": 1 << 10,
    "Send Messages": 1 << 11,
    "Attach Files": 1 << 15,
    "Read Message History": 1 << 16,
    "Create Public Threads": 1 << 35,
    "Send Messages in Threads": 1 << 38,
}
"""What the bot needs in a server. It may rename a thread that it created without Manage Threads."""

SCOPES: Final = ("bot", "applications.commands")

_ADMINISTRATOR: Final = 1 << 3
_EVERYTHING: Final = sum(PERMISSIONS.values())
_TEXT: Final = frozenset({0, 5})
"""A text channel, an announcement channel: a mention opens a thread."""
_POSTS: Final = frozenset({15, 16})
"""A forum, a media channel: people open the posts, and the bot answers in them."""
_CATEGORY: Final = 4
_THREADS: Final = frozenset({10, 11, 12})
_TO_OPEN: Final = frozenset({"Send Messages", "Create Public Threads"})
"""What the bot does not need where it opens no threads."""

_NOT_FOUND: Final = "is in none of these servers, or it is an archived thread or was deleted"


class Place(msgspec.Struct, frozen=True):
    """A channel, its type as Discord has it, and the bits of the permissions that the bot has there."""

    id: str
    name: str
    kind: int
    held: int


class Server(msgspec.Struct):
    """A server that the bot is in, and its channels, as far as they are known.

    ``problem``: why they are not known.
    """

    name: str
    places: Sequence[Place] = ()
    problem: str | None = None


def invite_link(client_id: str) -> str:
    """The page where an administrator of a server adds the bot, with just the permissions that it needs."""
    query = {"client_id": client_id, "scope": " ".join(SCOPES), "permissions": _EVERYTHING}
    return f"https://discord.com/oauth2/authorize?{urlencode(query)}"


def missing(kind: int, held: int) -> tuple[str, ...]:
    """The names of the permissions that the bot needs in a channel of this kind and does not have there."""
    if not held & PERMISSIONS["View Channels"]:
        return ("View Channels",)  # without it Discord takes all others away
    needed = (name for name in PERMISSIONS if kind not in _POSTS | _THREADS or name not in _TO_OPEN)
    return tuple(name for name in needed if not held & PERMISSIONS[name])


def held_in(
    overwrites: Iterable[tuple[str, int, int]], roles: Mapping[str, int], member: Iterable[str], user: str, server: str
) -> int:
    """The permissions in a channel: those of the roles, then the overwrites of everyone, of the roles, of the user.

    ``overwrites``: id, allowed and denied bits. ``roles``: the bits of each role by id; that of everyone has the id of
    the ``server``. ``member``: the ids of the roles that the user holds.
    """
    own = [role for role in member if role in roles and role != server]
    held = roles.get(server, 0)
    for role in own:
        held |= roles[role]
    if held & _ADMINISTRATOR:
        return _EVERYTHING
    by_id = {target: (allow, deny) for target, allow, deny in overwrites}
    allow = deny = 0
    for role in own:
        more, less = by_id.get(role, (0, 0))
        allow, deny = allow | more, deny | less
    for more, less in (by_id.get(server, (0, 0)), (allow, deny), by_id.get(user, (0, 0))):
        held = held & ~less | more
    return held


def report(
    settings: DiscordSettings,
    servers: Sequence[Server],
    client_id: str,
    *,
    more: int = 0,
    elsewhere: Mapping[str, str] | None = None,
) -> Iterator[tuple[bool, str]]:
    """Where the bot is, and whether it can work in each channel that it is allowed in: ok, and one line.

    ``more``: in how many other servers it is, of which nothing is known. ``elsewhere``: of allowed channels that none
    of the servers has, why not. Where all channels are allowed, those that the bot can't see are left out: that is how
    people keep it out.
    """
    if not servers and not more:
        yield False, f"the bot is in no server yet: open the invite link {invite_link(client_id)}"
        return
    others = f" and {more} more, which this doesn't check" if more else ""
    yield True, f"the bot is in {', '.join(one_line(server.name, 100) for server in servers)}{others}"
    for server in servers:
        if server.problem is not None:
            yield False, f"cannot look at the channels of {one_line(server.name, 100)}: {server.problem}"
    known = not more and all(server.problem is None for server in servers)
    named = {*settings.allowed_channels, *settings.channels}
    found, usable = set(), False
    for server in servers:
        for place in server.places:
            if place.id not in named and not settings.allow_all_channels:
                continue
            found.add(place.id)
            lacks = missing(place.kind, place.held)
            if place.id not in named and (place.kind not in _TEXT | _POSTS or lacks == ("View Channels",)):
                continue
            usable = True
            yield _of_place(place, server, lacks)
    for channel_id in sorted(named - found) if known else ():
        why = (elsewhere or {}).get(
            channel_id
        ) or "is in none of these servers, or it is an archived thread or was deleted"
        yield False, f"channel {channel_id} {why}"
    if settings.allow_all_channels and not usable and known:
        yield False, "the bot can't see any channel there: give it the permission View Channels"


def _of_place(place: Place, server: Server, lacks: tuple[str, ...]) -> tuple[bool, str]:
    name = f"#{one_line(place.name, 100)} in {one_line(server.name, 100)}"
    if place.kind == _CATEGORY:
        return False, f"{name} is a category: name its channels"
    if place.kind not in _TEXT | _POSTS | _THREADS:
        return False, f"{name} isn't a text channel or a forum, so no threads can be opened there"
    return (False, f"{name}: the bot lacks {', '.join(lacks)}") if lacks else (True, f"{name}: ok")
