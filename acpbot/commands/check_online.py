"""`acpbot check --online`: try the bot token, say what the bot still lacks in which channel, print the invite link.

It sends a few GET requests with the bot token to ``[discord] api_base``, as the daemon would. Sources:
docs.discord.com, "OAuth2" (bot authorization flow), "Application" (application flags), "Guild", "Channel".
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from acpbot import __version__
from acpbot.chat.discord.permissions import Place, Server, held_in, invite_link, report
from acpbot.config.values import Secret
from acpbot.errors import AcpbotError
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp

    from acpbot.config.settings import DiscordSettings, Settings

PORTAL: Final = "https://discord.com/developers/applications"
API: Final = "https://discord.com/api/v10"

# GATEWAY_MESSAGE_CONTENT of a verified application, and the _LIMITED one of all others. The bot asks for no other
# privileged intent: each message carries its author's roles, so it does not need the Server Members Intent.
_MESSAGE_CONTENT: Final = 1 << 18 | 1 << 19

_Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,20}\Z")]
_Bits = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,20}\Z")]


class _Named(msgspec.Struct):
    id: _Id


class _Role(_Named):
    permissions: _Bits


class _Overwrite(_Named):
    allow: _Bits
    deny: _Bits


class _Channel(_Named):
    type: int
    name: str
    permission_overwrites: list[_Overwrite] = []


class _Thread(_Named):
    type: int


class _Member(msgspec.Struct):
    roles: list[_Id]


_SERVERS_MOST: Final = 10
"""Each takes three requests."""
_LOOKUPS_MOST: Final = 20
"""Channels that are looked up one by one."""
_HIDDEN: Final = "is there, but the bot can't see it: give it the permission View Channels"

_SECONDS: Final = 15.0
_LONGEST_ANSWER: Final = 1024 * 1024


async def try_token(settings: Settings, say: Callable[[str], None], *, seconds: float = _SECONDS) -> bool:
    """Send the token to Discord, wait ``seconds`` at most, and say what it answers; whether the bot can work."""
    if settings.discord is None:
        say("discord: no [discord] table: the chat is local, so there is no token to check")
        return True
    try:
        found = await _fetch(settings, settings.discord, seconds)
    except AcpbotError as error:
        say(f"discord: {error}")
        return False
    user, application = found.user, found.application
    say(operator_line(f"discord: token accepted; the bot is {user.get('username')} ({user['id']})"))
    granted = application.get("flags")
    fine = isinstance(granted, int) and bool(granted & _MESSAGE_CONTENT)
    if not fine:
        say(
            "discord: cannot read messages: the application has no Message Content Intent; "
            f"turn it on at {PORTAL}, Bot, Privileged Gateway Intents"
        )
    lines = report(settings.discord, found.servers, str(application["id"]), more=found.more, elsewhere=found.elsewhere)
    for ok, line in lines:
        fine = fine and ok
        say(operator_line(f"discord: {'' if ok else 'problem: '}{line}"))
    if found.servers:  # else it has been said
        say(f"discord: invite it with {invite_link(application['id'])}")
    return fine


class _Found(msgspec.Struct):
    """The bot's user, its application, and the servers that it is in: some, and how many more.

    ``elsewhere``: of allowed channels that none of these has, why not.
    """

    user: dict[str, Any]
    application: dict[str, Any]
    servers: list[Server]
    more: int
    elsewhere: dict[str, str]


class _Refused(AcpbotError):
    """An answer of Discord's that is none of what was asked for. ``status``: HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


async def _fetch(settings: Settings, discord: DiscordSettings, seconds: float) -> _Found:
    """Ask Discord. ``AcpbotError`` says why there is no answer."""
    import aiohttp  # noqa: PLC0415 - 0.2 s that only this check needs

    base = discord.api_base or API
    shown = base.shown if isinstance(base, Secret) else base
    headers = {"Authorization": f"Bot {discord.bot_token}", "User-Agent": f"DiscordBot (acpbot, {__version__})"}
    fix = "check the network and [discord] api_base" if discord.api_base else "check the network"
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=seconds)) as session:
            get = partial(_get, session, base=base, shown=shown, source=_token_source(settings, discord))
            async with asyncio.timeout(seconds):
                user, application = await get("/users/@me", _Named), await get("/oauth2/applications/@me", _Named)
                guilds = await get("/users/@me/guilds", list[_Named])
                servers = [await _server(get, str(user["id"]), guild) for guild in guilds[:_SERVERS_MOST]]
                elsewhere = await _threads(get, discord, servers)
                return _Found(user, application, servers, len(guilds) - len(servers), elsewhere)
    except TimeoutError:
        raise AcpbotError(f"cannot reach {shown}: no answer within {seconds:g} s; {fix}") from None
    except (aiohttp.ClientError, OSError) as error:
        reason = operator_line(str(error))[:200] or type(error).__name__
        raise AcpbotError(f"cannot reach {shown}: {reason}; {fix}") from None
    except ValueError as error:  # aiohttp, of a URL with a password: we send Authorization too. Not quoted
        raise AcpbotError(f"cannot ask {shown}: {type(error).__name__}; correct [discord] api_base") from None


async def _server(get: Callable[[str, Any], Awaitable[Any]], user_id: str, guild: dict[str, Any]) -> Server:
    """A server, with its channels and the bot's permissions there; or why Discord does not describe it."""
    name, path = str(guild.get("name")), f"/guilds/{guild['id']}"
    try:
        roles = {one["id"]: int(one["permissions"]) for one in await get(f"{path}/roles", list[_Role])}
        member = await get(f"{path}/members/{user_id}", _Member)
        channels = await get(f"{path}/channels", list[_Channel])
    except _Refused as error:
        return Server(name, problem=f"Discord answered {error.status}; {_advice_in_server(error.status)}")
    places = []
    for one in channels:
        overwrites = [
            (each["id"], int(each["allow"]), int(each["deny"])) for each in one.get("permission_overwrites", ())
        ]
        held = held_in(overwrites, roles, member["roles"], user_id, guild["id"])
        places.append(Place(one["id"], str(one["name"]), one["type"], held))
    return Server(name, places)


async def _threads(
    get: Callable[[str, Any], Awaitable[Any]], discord: DiscordSettings, servers: list[Server]
) -> dict[str, str]:
    """Look up the allowed channels that no server lists, and add those that are threads to their servers.

    The others are returned, with the reason.
    """
    listed = {place.id: (server, place) for server in servers for place in server.places}
    elsewhere: dict[str, str] = {}
    for channel_id in sorted({*discord.allowed_channels, *discord.channels} - listed.keys())[:_LOOKUPS_MOST]:
        try:
            found = await get(f"/channels/{channel_id}", _Thread)
        except _Refused as error:
            hidden = error.status == 403  # noqa: PLR2004 - the number is the name
            elsewhere[channel_id] = _HIDDEN if hidden else "is in none of these servers, or it was deleted"
            continue
        server, parent = listed.get(str(found.get("parent_id")), (None, None))
        if server is not None and parent is not None:
            thread = Place(channel_id, str(found.get("name")), found["type"], parent.held)
            server.places = [*server.places, thread]
    return elsewhere


async def _get(session: aiohttp.ClientSession, path: str, kind: Any, *, base: str, shown: str, source: str) -> Any:
    """A JSON value that fits ``kind``. Redirects are not followed, so that the token reaches no other host."""
    async with session.get(f"{base}{path}", allow_redirects=False) as response:
        if response.status == 401:  # noqa: PLR2004 - the number is the name
            raise AcpbotError(
                operator_line(
                    f"cannot log in: Discord rejects the token in {source}; make a new one "
                    f"at {PORTAL}, Bot, Reset Token, and put it there"
                )
            )
        if response.status == 429:  # noqa: PLR2004 - the same
            wait = operator_line(response.headers.get("Retry-After", "60"))[:10]
            raise AcpbotError(f"cannot check the token: {shown} is limiting requests; try again in {wait} s")
        if response.status != 200:  # noqa: PLR2004 - the same
            status = response.status
            raise _Refused(f"cannot check the token: {shown} answered {status}; {_advice(status)}", status)
        body = await response.content.read(_LONGEST_ANSWER)
        while more := await response.content.read(_LONGEST_ANSWER):
            body += more
            if len(body) > _LONGEST_ANSWER:
                break
    try:
        answer = msgspec.json.decode(body)
        msgspec.convert(answer, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise AcpbotError(
            f"cannot check the token: {shown} doesn't answer like Discord's API; correct [discord] api_base"
        ) from None
    return answer


def _advice(status: int) -> str:
    return "try again later" if status >= 500 else "correct [discord] api_base"  # noqa: PLR2004 - server errors


def _advice_in_server(status: int) -> str:
    return "try again later" if status >= 500 else "check that the bot is still in it"  # noqa: PLR2004 - the same


def _token_source(settings: Settings, discord: DiscordSettings) -> str:
    """The key, and the file or the variable, that holds the token."""
    if discord.bot_token_file is not None:
        return f"[discord] bot_token_file, {discord.bot_token_file}"
    where = f"[discord] bot_token in {settings.source or 'the settings'}"
    used = sorted(discord.bot_token.variables) if isinstance(discord.bot_token, Secret) else []
    return f"{where} (environment variable {', '.join(used)})" if used else where
