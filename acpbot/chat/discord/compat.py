"""What acpbot uses of discord.py (2.7) that its documentation does not promise: all of it is here.

A later version may rename or drop any of these. tests/chat/discord/test_compat.py shows that each exists.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

import discord
import yarl
from discord.gateway import DiscordWebSocket, KeepAliveHandler
from discord.http import Route

if TYPE_CHECKING:
    from discord.http import HTTPClient

CLIENT_LOGGER: Final = "discord.client"
"""The logger that gets a traceback for each failed connection of a client."""


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


def message_of(channel: discord.abc.Messageable, data: dict[str, Any]) -> discord.Message:
    """The message that a channel's history describes. Raises what the library raises for data that it can't read."""
    state: Any = getattr(channel, "_state")  # noqa: B009 - no type of the library promises it
    found: discord.Message = state.create_message(channel=channel, data=data)
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
