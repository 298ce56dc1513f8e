"""What acpbot uses of discord.py (2.7) that its documentation does not promise: all of it is here.

A later version may rename or drop any of these. tests/chat/discord/test_compat.py shows that each exists.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import discord
import yarl
from discord.gateway import DiscordWebSocket, KeepAliveHandler
from discord.http import Route

from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from discord.http import HTTPClient

log = get_logger(__name__)

CLIENT_LOGGER: Final = "discord.client"
"""The logger that gets a traceback for each failed connection of a client."""

_SESSION_EVENTS: Final = frozenset({"READY", "RESUMED"})
_MESSAGE_EVENTS: Final = frozenset({"MESSAGE_CREATE", "MESSAGE_UPDATE"})
_NEEDED: Final = frozenset(
    {
        *("id", "channel_id", "guild_id", "author", "member", "webhook_id", "type", "flags", "nonce", "content"),
        *("timestamp", "edited_timestamp", "attachments", "embeds", "mentions", "mention_roles", "mention_everyone"),
        "message_reference",
    }
)
_MAY_BE_LEFT_OUT: Final = frozenset({"embeds", "message_reference", "referenced_message", "message_snapshots", "poll"})

_TYPES: Final[dict[str, type[Any]]] = {
    **dict.fromkeys(("attachments", "embeds", "mentions", "mention_roles"), list),
    "content": str,
    "member": dict,
}
_EMBED_TYPES: Final[dict[str, type[Any]]] = {
    **dict.fromkeys(("title", "description", "url"), str),
    **dict.fromkeys(("author", "footer", "image", "thumbnail", "video", "provider"), dict),
    "fields": list,
}
_ATTACHMENT_KEYS: Final = frozenset({"id", "filename", "size", "url", "proxy_url"})
_USER_KEYS: Final = frozenset({"id", "username", "discriminator", "avatar"})


def configure(api_base: str | None, gateway_url: str | None) -> None:
    """Send REST and gateway of all clients of this process to these addresses; ``None``: to Discord's own.

    Keep the library from warning of packages that only voice needs, and from logging a traceback of each failed
    connection: acpbot logs one line.
    """
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    logging.getLogger(CLIENT_LOGGER).setLevel(logging.CRITICAL)
    if api_base is not None:
        Route.BASE = api_base
    if gateway_url is not None:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


def heart(client: discord.Client | None) -> Any:
    """The thread that sends the heartbeats of the client's gateway connection; ``None`` where there is none."""
    return getattr(getattr(client, "ws", None), "_keep_alive", None)


def acknowledged_at(heart: Any) -> float | None:
    """When the gateway acknowledged the last heartbeat (``time.perf_counter``)."""
    return getattr(heart, "_last_ack", None)


def received_at(heart: Any) -> float | None:
    """When anything came from the gateway last (``time.perf_counter``)."""
    return getattr(heart, "_last_recv", None)


def sent_at(heart: Any) -> float | None:
    """When the last heartbeat was sent (``time.perf_counter``)."""
    return getattr(heart, "_last_send", None)


def hearts(client: discord.Client) -> list[KeepAliveHandler]:
    """All threads that send heartbeats for this client, also those of connections that it has given up."""
    state = getattr(client, "_connection", None)
    return [
        thread
        for thread in threading.enumerate()
        if isinstance(thread, KeepAliveHandler) and getattr(thread.ws, "_connection", thread) is state
    ]


def cut(gateway: DiscordWebSocket) -> None:
    """End a gateway connection as a broken network would, without a close frame: its session can be resumed."""
    connection = gateway.socket.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def to_json(value: Any) -> str:
    """The JSON text that the library sends for a request's body. Raises TypeError, ValueError."""
    text: str = discord.utils._to_json(value)  # noqa: SLF001 - no public function does the same
    return text


def guard_events(client: discord.Client) -> None:
    """Have an event that the library can't read cost only itself, and a message only the part that can't be read.

    Else it would end the gateway connection, and the next session might begin with the same event. The events that
    begin a session still raise: there is none without them.
    """
    parsers: dict[str, Callable[[Any], None]] = client._connection.parsers  # noqa: SLF001 - nothing else has them
    for event, parse in tuple(parsers.items()):
        if event not in _SESSION_EVENTS:
            parsers[event] = partial(_read_event, event, parse)


def _read_event(event: str, parse: Callable[[Any], None], data: Any) -> None:
    try:
        if event in _MESSAGE_EVENTS:
            _read_message(parse, data)
        else:
            parse(data)
    except Exception:
        # Broad: whatever an odd event makes the library raise, the events after it are to be read.
        log.exception("discord_event_unreadable", event=event, id=_id_of(data))


def _read_message(read: Callable[[Any], Any], data: Any) -> Any:
    """What ``read`` makes of a message; where it fails, of the same message with less and less in it."""
    data = _tidied(data)
    try:
        return read(data)
    except Exception as error:  # noqa: BLE001 - an odd field makes the library raise anything
        log.warning("discord_message_odd", id=_id_of(data), error=f"{type(error).__name__}: {error}"[:200])
    try:
        return read(_needed_of(data))
    except Exception:  # noqa: BLE001 - the same; the last try raises
        least = {name: value for name, value in _needed_of(data).items() if name not in _MAY_BE_LEFT_OUT}
        return read(least | {"edited_timestamp": None})


def _tidied(data: Any) -> Any:
    """A message without values of other types than Discord documents (resources/message), and so are those in it.

    The library keeps some of them, and raises an error only when a part of its message is read (2.7.1).
    """
    if not isinstance(data, dict):
        return data
    odd = [name for name, kind in _TYPES.items() if name in data and not isinstance(data[name], kind)]
    kept: dict[str, Any] = {name: value for name, value in data.items() if name not in odd}
    kept |= {name: _TYPES[name]() for name in odd if name != "member"}
    for name, keys in (("attachments", _ATTACHMENT_KEYS), ("mentions", _USER_KEYS)):
        if name in kept:
            kept[name] = [one for one in kept[name] if isinstance(one, dict) and keys <= one.keys()]
    if "mention_roles" in kept:
        kept["mention_roles"] = [one for one in kept["mention_roles"] if str(one).isdecimal()]
    if "embeds" in kept:
        kept["embeds"] = [_tidied_embed(one) for one in kept["embeds"] if isinstance(one, dict)]
    other, forwarded = kept.get("referenced_message"), kept.get("message_snapshots")
    if other is not None:
        kept["referenced_message"] = _tidied(other)
    if isinstance(forwarded, list):
        kept["message_snapshots"] = [
            one | {"message": _tidied(one["message"])}
            for one in forwarded
            if isinstance(one, dict) and isinstance(one.get("message"), dict)
        ]
    return kept


def _tidied_embed(data: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in data.items() if isinstance(value, _EMBED_TYPES.get(name, object))}
    if "fields" in kept:
        kept["fields"] = [one for one in kept["fields"] if isinstance(one, dict)]
    return kept


def _needed_of(data: dict[str, Any]) -> dict[str, Any]:
    """A message without the fields that nobody needs, and so are the messages in it.

    Without a list of components the library makes a message that has no such attribute (2.7.1), and it can't read a
    poll without an end, which Discord documents (https://discord.com/developers/docs/resources/poll).
    """
    kept = {name: value for name, value in data.items() if name in _NEEDED} | {"components": []}
    other, forwarded, poll = data.get("referenced_message"), data.get("message_snapshots"), data.get("poll")
    if isinstance(poll, dict) and poll.get("question"):
        kept["poll"] = poll | {"expiry": poll.get("expiry") or data.get("timestamp")}
    if isinstance(other, dict):
        kept["referenced_message"] = _needed_of(other)
    if isinstance(forwarded, list):
        kept["message_snapshots"] = [{"message": _needed_of(one["message"])} for one in forwarded]
    return kept


def _id_of(data: Any) -> str | None:
    found = data.get("id") if isinstance(data, dict) else None
    return found if isinstance(found, str) else None


def message_of(channel: discord.abc.Messageable, data: dict[str, Any]) -> discord.Message:
    """The message that a channel's history describes, without what the library can't read of it.

    Raises what the library raises for data of which it can read nothing.
    """
    state: Any = getattr(channel, "_state")  # noqa: B009 - no type of the library promises it
    found: discord.Message = _read_message(lambda data: state.create_message(channel=channel, data=data), data)
    return found


def member_of(guild: discord.Guild, data: dict[str, Any]) -> discord.Member:
    """The member that Discord describes. Raises what the library raises for data that it can't read."""
    return discord.Member(data=data, guild=guild, state=guild._state)  # type: ignore[arg-type]  # noqa: SLF001


def open_global_gate(http: HTTPClient) -> None:
    """Let requests go on that wait because one of them has met the global rate limit.

    While one request waits for the end of the limit, all others wait at this gate, which only that request opens
    again. If it is cancelled, the gate stays shut for ever (2.7.1).
    """
    gate = getattr(http, "_global_over", None)
    if isinstance(gate, asyncio.Event):
        gate.set()
