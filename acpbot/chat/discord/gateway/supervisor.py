"""Stays connected: logs in, connects, and does both again after everything that is not a configuration error.

discord.py's own loop resumes after ordinary cuts; around it are the cases in which ``connect()`` gives up, waits too
long (its back-off grows to 17 minutes), or leaves a closed client behind, in whose place a new one is made. And those
in which it does not see that it is cut off: it gives a silent gateway 60 s, and 30 more to say goodbye.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import discord
import yarl
from discord.gateway import DiscordWebSocket, KeepAliveHandler
from discord.http import Route

from acpbot.aio import Backoff
from acpbot.chat.platform import ChatFacts
from acpbot.errors import ConfigError
from acpbot.logs import get_logger
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.config.settings import DiscordSettings

log = get_logger(__name__)

SILENCE_SECONDS: Final = 15.0
"""A gateway that says nothing at all for so long after a heartbeat is gone: else its acknowledgement comes at once."""

IDENTIFIES: Final = 200
IDENTIFY_SECONDS: Final = 150.0
"""New sessions that may be begun in a row, and how often another one after that: under 800 a day. Discord allows 1,000
and then resets the bot's token (gateway, session start limit)."""

_CANCEL_SECONDS: Final = 0.5
PORTAL: Final = "https://discord.com/developers/applications"


def point_at(settings: DiscordSettings) -> None:
    """Send REST and gateway to the addresses of the configuration, where it names any; before a client is started."""
    # Its traceback of every failed attempt tells less than the supervisor's own line.
    logging.getLogger("discord.client").setLevel(logging.CRITICAL)
    if settings.api_base is not None:
        Route.BASE = settings.api_base
    if settings.gateway_url is not None:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.gateway_url)


class IdentifyLimiter:
    """So many at once, and then one in ``seconds``."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._used = 0.0
        self._at = clock()

    def take(self) -> float:
        """Take one; in how many seconds it may be used."""
        now = self._clock()
        self._used = max(self._used - (now - self._at) / self._seconds, 0.0) + 1
        self._at = now
        return max(self._used - self._most, 0.0) * self._seconds


class GatewayStatus:
    """Whether there is a gateway session now, since when, and how its heart beats."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed_at: float | None = None
        self._since: str | None = None
        self.connected = False
        self.sessions = 0
        """How often it has come up."""

    def up(self) -> None:
        """READY or RESUMED has come."""
        self.sessions += 1
        self._set(connected=True)

    def down(self) -> None:
        """The connection is lost, or an attempt at one has failed."""
        if self.connected:
            self._set(connected=False)

    def _set(self, *, connected: bool) -> None:
        if connected != self.connected:
            self.connected = connected
            self._changed_at = self._clock()
            self._since = rfc3339()
            log.info("discord_connected" if connected else "discord_disconnected")

    def facts(self, client: discord.Client | None) -> ChatFacts:
        """For health; what the heart tells is private in discord.py and may not be there."""
        lost = self._changed_at if not self.connected else None
        beat = _heart(client) if self.connected else None
        latency = getattr(beat, "latency", None)
        acknowledged = getattr(beat, "_last_ack", None)
        return ChatFacts(
            platform="discord",
            connected=self.connected,
            since=self._since,
            disconnected_seconds=None if lost is None else round(self._clock() - lost, 3),
            latency_ms=round(latency * 1000, 1) if isinstance(latency, float) and latency < float("inf") else None,
            heartbeat_ack_seconds=None if acknowledged is None else round(time.perf_counter() - acknowledged, 3),
        )


def _heart(client: discord.Client | None) -> Any:
    """What beats the heart of the client's gateway: private in discord.py, ``None`` where there is none."""
    return getattr(getattr(client, "ws", None), "_keep_alive", None)


class SilenceDetector:
    """How long a gateway has been silent, for one who looks every few seconds.

    What counts is whether anything came between two looks: the library notes the time of a heartbeat in a thread of its
    own, which can be after that of the acknowledgement.
    """

    def __init__(self) -> None:
        self._heart: Any = None
        self._heard: float | None = None
        self._sent: float | None = None
        self._unanswered: float | None = None

    def silent_seconds(self, heart: Any) -> float:
        """For how long nothing at all has followed a heartbeat; 0 where something has, or where there is no heart."""
        heard, sent = getattr(heart, "_last_recv", None), getattr(heart, "_last_send", None)
        if heart is not self._heart or heard != self._heard:
            self._heart, self._heard, self._sent, self._unanswered = heart, heard, sent, None
        elif sent != self._sent:
            self._sent = sent
            self._unanswered = self._unanswered or sent
        return 0.0 if self._unanswered is None else time.perf_counter() - self._unanswered


def _cut(gateway: DiscordWebSocket) -> None:
    wire = gateway.socket.get_extra_info("socket")
    if wire is not None:
        with contextlib.suppress(OSError):
            wire.shutdown(socket.SHUT_RDWR)


async def _still(client: discord.Client) -> None:
    """Stop what is left of the client's gateway connections once nothing reads them.

    One that was being made when :meth:`~discord.Client.connect` was cut short is nobody's, and its thread would go on
    beating for as long as Discord answers.
    """
    for thread in threading.enumerate():
        theirs = getattr(getattr(thread, "ws", None), "_connection", None)  # private: which client it belongs to
        if isinstance(thread, KeepAliveHandler) and theirs is getattr(client, "_connection", thread):
            thread.stop()
            if thread.ws is not client.ws:
                _cut(thread.ws)
                await thread.ws.close()


class Supervisor:
    """Runs one client after the other. ``online`` is told each client that REST works with, ``offline`` its end.

    ``patience``: seconds without a gateway session after which an attempt of discord.py's own is cut short and begun
    anew; no session of Discord's outlives it by much. ``silence``: seconds without a word after a heartbeat after which
    the connection is cut and the session resumed.
    """

    def __init__(
        self,
        make_client: Callable[[], discord.Client],
        token: str,
        link: GatewayStatus,
        *,
        online: Callable[[discord.Client], None],
        offline: Callable[[], None],
        backoff: Backoff | None = None,
        patience: float = 60.0,
        silence: float = SILENCE_SECONDS,
        identifies: IdentifyLimiter | None = None,
    ) -> None:
        self._make_client = make_client
        self._token = token
        self._link = link
        self._online = online
        self._offline = offline
        self._backoff = backoff or Backoff(first=1.0, most=60.0)
        self._patience = patience
        self._silence = silence
        self._identifies = identifies or IdentifyLimiter(IDENTIFIES, IDENTIFY_SECONDS)
        self._hearing = SilenceDetector()
        self._closing = asyncio.Event()
        self._failures = 0
        self.client: discord.Client | None = None

    async def run(self) -> None:
        """Stay connected until :meth:`close`. Raises ConfigError where a retry could not help."""
        life = asyncio.create_task(self._live(), name="discord supervisor")
        closing = asyncio.create_task(self._closing.wait(), name="discord closing")
        try:
            await asyncio.wait([life, closing], return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                await life
        finally:
            for task in (life, closing):
                task.cancel()
            await asyncio.gather(life, closing, return_exceptions=True)
            await self._drop()

    async def _live(self) -> None:
        while True:
            await self._attempt()

    def close(self) -> None:
        """Leave Discord; :meth:`run` returns once that is done."""
        self._closing.set()

    async def _attempt(self) -> None:
        sessions = self._link.sessions
        try:
            client = await self._logged_in()
            await self._connect(client)
        except discord.LoginFailure:
            raise ConfigError(
                "cannot log in to Discord: it refuses the bot token; mend [discord] bot_token (or the file that "
                f"bot_token_file names); tokens are made at {PORTAL}, Bot, Reset Token"
            ) from None
        except discord.PrivilegedIntentsRequired:
            raise ConfigError(
                "cannot connect to Discord: the application may not read messages; switch on the Message Content "
                f"Intent at {PORTAL}, Bot, Privileged Gateway Intents"
            ) from None
        except Exception as error:  # noqa: BLE001 - also a defect of the library, met by a strange message: logged below
            self._failures = 1 if self._link.sessions > sessions else self._failures + 1
            seconds = self._backoff.seconds(self._failures)
            told = f"{type(error).__name__}: {error}"[:300]
            log.warning("discord_attempt_failed", error=told, next_in=round(seconds, 1))
            await self._recover()
            await asyncio.sleep(seconds)

    async def _logged_in(self) -> discord.Client:
        """The client that is logged in; a new one is made where there is none."""
        if self.client is not None and not self.client.is_closed():
            return self.client
        await self._drop()
        client = self._make_client()
        try:
            async with asyncio.timeout(self._patience):
                await client.login(self._token)
        except BaseException:
            await client.close()  # else each failed login would leave its HTTP session open
            raise
        self.client = client
        self._online(client)
        return client

    async def _connect(self, client: discord.Client) -> None:
        """Hold the gateway until it ends, or until there was no session for too long. Raises what it ended with."""
        await asyncio.sleep(self._identifies.take())
        task = asyncio.create_task(client.connect(), name="discord gateway")
        began = time.monotonic()
        try:
            while not task.done():
                await asyncio.wait([task], timeout=min(self._patience, self._silence / 3))
                long = time.monotonic() - began >= self._patience
                if not task.done() and long and not self._link.connected and self._lost_long():
                    raise TimeoutError(f"no gateway session for {self._patience:.0f} s")
                self._listen(client)
            await task
            raise ConnectionError("the gateway has closed")
        finally:
            self._link.down()
            while not task.done():  # asyncio.wait_for of Python 3.11, which is in there, may lose a cancellation
                task.cancel()
                await asyncio.wait([task], timeout=_CANCEL_SECONDS)
            await asyncio.gather(task, return_exceptions=True)
            await _still(client)

    def _listen(self, client: discord.Client) -> None:
        """Cut a gateway off that says nothing."""
        seconds = self._hearing.silent_seconds(_heart(client))
        if seconds < self._silence:
            return
        log.warning("gateway_silent", seconds=round(seconds, 1))
        # As the network would: a close frame would wait for an answer that does not come, and 1000 end the session.
        _cut(client.ws)

    def _lost_long(self) -> bool:
        lost = self._link.facts(None).disconnected_seconds
        return lost is None or lost >= self._patience

    async def _recover(self) -> None:
        """Close what is left of the lost connection; a client that closed itself is of no more use."""
        client = self.client
        if client is None:
            return
        if client.is_closed():
            await self._drop()
        elif (gateway := getattr(client, "ws", None)) is not None and gateway.open:
            await gateway.close(code=1000)

    async def _drop(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            self._offline()
            await client.close()
