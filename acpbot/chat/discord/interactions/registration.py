"""Registers the slash commands with Discord, beside what else the application must keep.

Source: https://discord.com/developers/docs/interactions/application-commands (Bulk Overwrite Global Application
Commands; Entry Point commands).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpbot.chat.discord.outbound.rest import ENTRY_POINT_MISSING, RequestRefused, Unreachable

if TYPE_CHECKING:
    from acpbot.chat.discord.outbound.rest import Rest

_PATH: Final = "/applications/{application_id}/commands"
_ENTRY_POINT: Final = 4
# What Discord itself adds to a command, and does not take back.
_ADDED: Final = frozenset({"application_id", "version", "guild_id"})


async def register(rest: Rest, application_id: str, commands: list[dict[str, Any]]) -> None:
    """Put the commands in the place of all others; the application's entry point stays. RequestRefused, Unreachable.

    An application with an Activity has an entry point command (type 4), which no bulk update may leave out.
    """
    try:
        await rest.call("PUT", _PATH, commands, application_id=application_id)
    except RequestRefused as error:
        if error.code != ENTRY_POINT_MISSING:
            raise
        found = await rest.call("GET", _PATH, urgent=False, application_id=application_id)
        if not isinstance(found, list):
            raise Unreachable("no list of commands") from error
        kept = [
            {key: value for key, value in one.items() if key not in _ADDED and value is not None}
            for one in found
            if isinstance(one, dict) and one.get("type") == _ENTRY_POINT
        ]
        await rest.call("PUT", _PATH, [*commands, *kept], application_id=application_id)
