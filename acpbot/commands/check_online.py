"""`acpbot check --online`: try the bot token, say what the application still lacks, print the invite link.

It sends two GET requests with the bot token to ``[discord] api_base``, as the daemon would. Sources:
docs.discord.com, "Permissions", "OAuth2" (bot authorization flow), "Application" (application flags).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from acpbot import __version__
from acpbot.config.values import Secret
from acpbot.errors import AcpbotError
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from acpbot.config.settings import DiscordSettings, Settings

PORTAL: Final = "https://discord.com/developers/applications"
API: Final = "https://discord.com/api/v10"

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

# GATEWAY_MESSAGE_CONTENT of a verified application, and the _LIMITED one of all others. The bot asks for no other
# privileged intent: each message carries its author's roles, so it does not need the Server Members Intent.
_MESSAGE_CONTENT: Final = 1 << 18 | 1 << 19

_SECONDS: Final = 15.0
_LONGEST_ANSWER: Final = 1024 * 1024


def invite_link(client_id: str) -> str:
    """The page where an administrator of a server adds the bot, with just the permissions that it needs."""
    query = {"client_id": client_id, "scope": " ".join(SCOPES), "permissions": sum(PERMISSIONS.values())}
    return f"https://discord.com/oauth2/authorize?{urlencode(query)}"


async def try_token(settings: Settings, say: Callable[[str], None], *, seconds: float = _SECONDS) -> bool:
    """Send the token to Discord, wait ``seconds`` at most, and say what it answers; whether the bot can work."""
    if settings.discord is None:
        say("discord: there is no [discord] table: the chat is local, there is no token to try")
        return True
    try:
        user, application = await _fetch(settings, settings.discord, seconds)
    except AcpbotError as error:
        say(f"discord: {error}")
        return False
    say(operator_line(f"discord: the token is taken; the bot is {user.get('username')} ({user['id']})"))
    granted = application.get("flags")
    fine = isinstance(granted, int) and bool(granted & _MESSAGE_CONTENT)
    if not fine:
        say(
            "discord: cannot read messages: the application has no Message Content Intent; "
            f"switch it on at {PORTAL}, Bot, Privileged Gateway Intents"
        )
    say(f"discord: invite it with {invite_link(application['id'])}")
    return fine


async def _fetch(settings: Settings, discord: DiscordSettings, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The bot's user and its application. ``AcpbotError`` says why there is no answer."""
    import aiohttp  # noqa: PLC0415 - 0.2 s that only this check needs

    base = discord.api_base or API
    shown = base.shown if isinstance(base, Secret) else base
    headers = {"Authorization": f"Bot {discord.bot_token}", "User-Agent": f"DiscordBot (acpbot, {__version__})"}
    fix = "check the network and [discord] api_base" if discord.api_base else "check the network"
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=seconds)) as session:
            user = await _get(session, f"{base}/users/@me", shown, settings, discord)
            return user, await _get(session, f"{base}/oauth2/applications/@me", shown, settings, discord)
    except TimeoutError:
        raise AcpbotError(f"cannot reach {shown}: no answer within {seconds:g} s; {fix}") from None
    except (aiohttp.ClientError, OSError) as error:
        reason = operator_line(str(error))[:200] or type(error).__name__
        raise AcpbotError(f"cannot reach {shown}: {reason}; {fix}") from None
    except ValueError as error:  # aiohttp, of a URL with a password: we send Authorization too. Not quoted
        raise AcpbotError(f"cannot ask {shown}: {type(error).__name__}; correct [discord] api_base") from None


async def _get(
    session: aiohttp.ClientSession, url: str, shown: str, settings: Settings, discord: DiscordSettings
) -> dict[str, Any]:
    """One JSON object with an ``id`` of digits. Redirects are not followed, so that the token reaches no other host."""
    import msgspec  # noqa: PLC0415 - the same

    async with session.get(url, allow_redirects=False) as response:
        if response.status == 401:  # noqa: PLR2004 - the number is the name
            raise AcpbotError(
                operator_line(
                    f"cannot log in: Discord refuses the token of {_token_source(settings, discord)}; make a new one "
                    f"at {PORTAL}, Bot, Reset Token, and put it there"
                )
            )
        if response.status == 429:  # noqa: PLR2004 - the same
            wait = operator_line(response.headers.get("Retry-After", "60"))[:10]
            raise AcpbotError(f"cannot try the token: {shown} takes no more requests for now; try again in {wait} s")
        if response.status != 200:  # noqa: PLR2004 - the same
            raise AcpbotError(f"cannot try the token: {shown} answers {response.status}; {_advice(response.status)}")
        body = await response.content.read(_LONGEST_ANSWER)
        while more := await response.content.read(_LONGEST_ANSWER):
            body += more
            if len(body) > _LONGEST_ANSWER:
                break
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    if not isinstance(answer, dict) or not str(answer.get("id")).isdecimal():
        raise AcpbotError(f"cannot try the token: {shown} does not answer as Discord's API; correct [discord] api_base")
    return answer


def _advice(status: int) -> str:
    return "try again later" if status >= 500 else "correct [discord] api_base"  # noqa: PLR2004 - server errors


def _token_source(settings: Settings, discord: DiscordSettings) -> str:
    """The key, and the file or the variable, that holds the token."""
    if discord.bot_token_file is not None:
        return f"[discord] bot_token_file, {discord.bot_token_file}"
    where = f"[discord] bot_token in {settings.source or 'the settings'}"
    used = sorted(discord.bot_token.variables) if isinstance(discord.bot_token, Secret) else []
    return f"{where} (environment variable {', '.join(used)})" if used else where
