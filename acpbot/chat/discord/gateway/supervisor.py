"""Stays connected to Discord: logs in, connects, and does both again after every error but a wrong configuration.

discord.py's own loop resumes the session after ordinary cuts. This module covers the rest: ``connect()`` raises, waits
too long between tries (up to 17 minutes), leaves a closed client behind, or does not notice that the connection is
dead: it gives a silent gateway 60 s, and 30 more to close.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import discord

from acpbot.aio import Backoff
from acpbot.chat.discord import compat
from acpbot.chat.platform import ChatFacts
from acpbot.errors import ConfigError
from acpbot.logs import get_logger
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

log = get_logger(__name__)

SILENCE_SECONDS: Final = 15.0
"""A gateway that sends nothing for so long after a heartbeat is dead: a live one acknowledges a heartbeat at once."""

IDENTIFIES: Final = 200
IDENTIFY_SECONDS: Final = 150.0
"""How many new sessions may begin in a row, and the seconds between further ones: under 800 a day. After 1,000 Discord
resets the bot's token (https://discord.com/developers/docs/events/gateway#session-start-limit-object)."""

PORTAL: Final = "https://discord.com/developers/applications"
_CANCEL_SECONDS: Final = 0.5


class IdentifyLimiter:
    """Allows ``burst`` new gateway sessions at once, then one every ``seconds``."""

    def __init__(self, burst: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._seconds = seconds
        self._clock = clock
        self._used = 0.0
        self._at = clock()

    def reserve(self) -> float:
        """Count a new session; return the seconds to wait before it may begin."""
        now = self._clock()
        self._used = max(self._used - (now - self._at) / self._seconds, 0.0) + 1
        self._at = now
        return max(self._used - self._burst, 0.0) * self._seconds


class GatewayStatus:
    """Whether there is a gateway session, and since when. ``sessions`` counts the new and the resumed ones."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed_at: float | None = None
        self._since: str | None = None
        self.connected = False
        self.sessions = 0

    def set(self, *, connected: bool) -> None:
        """The gateway has sent READY or RESUMED; or the connection is lost, or an attempt to connect has failed."""
        self.sessions += connected
        if connected != self.connected:
            self.connected = connected
            self._changed_at = self._clock()
            self._since = rfc3339()
            log.info("discord_connected" if connected else "discord_disconnected")

    def facts(self, client: discord.Client | None) -> ChatFacts:
        """The connection, for health, with the times of the client's heartbeats."""
        lost_at = None if self.connected else self._changed_at
        heart = compat.heart(client) if self.connected else None
        latency = getattr(heart, "latency", None)
        acknowledged = compat.acknowledged_at(heart)
        return ChatFacts(
            platform="discord",
            connected=self.connected,
            since=self._since,
            disconnected_seconds=None if lost_at is None else round(self._clock() - lost_at, 3),
            latency_ms=round(latency * 1000, 1) if isinstance(latency, float) and latency < float("inf") else None,
            heartbeat_ack_seconds=None if acknowledged is None else round(time.perf_counter() - acknowledged, 3),
        )


class SilenceDetector:
    """Measures for how long a gateway has sent nothing; its owner asks every few seconds.

    It compares what came between two calls. The times alone are not enough: discord.py notes when it sent a heartbeat
    in another thread, which can be after the acknowledgement came.
    """

    def __init__(self) -> None:
        self._heart: Any = None
        self._received: float | None = None
        self._sent: float | None = None
        self._unanswered: float | None = None

    def silent_seconds(self, heart: Any) -> float:
        """Seconds since the first heartbeat that nothing has followed; 0 where something has, or ``heart`` is None."""
        received, sent = compat.received_at(heart), compat.sent_at(heart)
        if heart is not self._heart or received != self._received:
            self._heart, self._received, self._sent, self._unanswered = heart, received, sent, None
        elif sent != self._sent:
            self._sent = sent
            self._unanswered = self._unanswered or sent
        return 0.0 if self._unanswered is None else time.perf_counter() - self._unanswered


async def _stop_heartbeats(client: discord.Client) -> None:
    """End what is left of the client's gateway connections once nothing reads them.

    A connection that was being made when :meth:`~discord.Client.connect` was cancelled belongs to nobody, and its
    thread would send heartbeats for as long as Discord answers.
    """
    for heart in compat.hearts(client):
        heart.stop()
        if heart.ws is not client.ws:
            compat.cut(heart.ws)
            await heart.ws.close()


class Supervisor:
    """Runs one client after the other; ``make_client`` makes them.

    ``patience``: after so many seconds without a gateway session, an attempt of discord.py's own is cancelled and a new
    one made; Discord keeps no session for much longer. ``silence``: a gateway that sends nothing for so many seconds
    after a heartbeat is cut off, and the session resumed.
    """

    def __init__(
        self,
        make_client: Callable[[], discord.Client],
        token: str,
        status: GatewayStatus,
        *,
        backoff: Backoff | None = None,
        patience: float = 60.0,
        silence: float = SILENCE_SECONDS,
        identifies: IdentifyLimiter | None = None,
    ) -> None:
        self._make_client = make_client
        self._token = token
        self._status = status
        self._backoff = backoff or Backoff(first=1.0, most=60.0)
        self._patience = patience
        self._silence = silence
        self._identifies = identifies or IdentifyLimiter(IDENTIFIES, IDENTIFY_SECONDS)
        self._silence_detector = SilenceDetector()
        self._closing = asyncio.Event()
        self.client: discord.Client | None = None

    async def run(self) -> None:
        """Stay connected until :meth:`close`. Raises ConfigError where a retry could not help."""
        attempts = asyncio.create_task(self._stay_connected(), name="discord supervisor")
        closing = asyncio.create_task(self._closing.wait(), name="discord closing")
        try:
            await asyncio.wait([attempts, closing], return_when=asyncio.FIRST_COMPLETED)
            if attempts.done():
                await attempts
        finally:
            for task in (attempts, closing):
                task.cancel()
            await asyncio.gather(attempts, closing, return_exceptions=True)
            await self._drop()

    def close(self) -> None:
        """Leave Discord; :meth:`run` returns once that is done."""
        self._closing.set()

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            sessions = self._status.sessions
            try:
                await self._connect(await self._logged_in())
            except discord.LoginFailure:
                raise ConfigError(
                    "cannot log in to Discord: it refuses the bot token; correct [discord] bot_token (or the file that "
                    f"bot_token_file names); tokens are made at {PORTAL}, Bot, Reset Token"
                ) from None
            except discord.PrivilegedIntentsRequired:
                raise ConfigError(
                    "cannot connect to Discord: the application may not read messages; switch on the Message Content "
                    f"Intent at {PORTAL}, Bot, Privileged Gateway Intents"
                ) from None
            except (Exception, asyncio.CancelledError) as error:  # an odd message makes discord.py raise anything
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                failures = 1 if self._status.sessions > sessions else failures + 1
                seconds = self._backoff.seconds(failures)
                reason = f"{type(error).__name__}: {error}"[:300]
                log.warning("discord_attempt_failed", error=reason, next_in=round(seconds, 1))
                try:
                    await self._close_connection()
                except Exception:
                    # Broad for the same reason; the next try is made all the same.
                    log.exception("discord_close_failed")
                await asyncio.sleep(seconds)

    async def _logged_in(self) -> discord.Client:
        """The client that is logged in; a new one where there is none."""
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
        return client

    async def _connect(self, client: discord.Client) -> None:
        """Hold the gateway connection. Raises what ended it, TimeoutError after ``patience`` without a session."""
        await asyncio.sleep(self._identifies.reserve())
        task = asyncio.create_task(client.connect(), name="discord gateway")
        began = time.monotonic()
        try:
            while not task.done():
                await asyncio.wait([task], timeout=min(self._patience, self._silence / 3))
                if not task.done() and time.monotonic() - began >= self._patience and self._is_lost():
                    raise TimeoutError(f"no gateway session for {self._patience:.0f} s")
                silent = self._silence_detector.silent_seconds(compat.heart(client))
                if silent >= self._silence:
                    log.warning("gateway_silent", seconds=round(silent, 1))
                    # A close frame would wait for an answer that does not come, and code 1000 would end the session.
                    compat.cut(client.ws)
            await task
            raise ConnectionError("the gateway has closed")
        finally:
            self._status.set(connected=False)
            while not task.done():  # asyncio.wait_for of Python 3.11, which discord.py uses, may lose a cancellation
                task.cancel()
                await asyncio.wait([task], timeout=_CANCEL_SECONDS)
            await asyncio.gather(task, return_exceptions=True)
            await _stop_heartbeats(client)

    def _is_lost(self) -> bool:
        """Whether there has been no gateway session for ``patience``."""
        lost = self._status.facts(None).disconnected_seconds
        return not self._status.connected and (lost is None or lost >= self._patience)

    async def _close_connection(self) -> None:
        """Close what is left of a lost connection; drop a client that has closed itself, since no other call works."""
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
            await client.close()
