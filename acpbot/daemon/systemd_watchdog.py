"""systemd's watchdog: each keep-alive ping is earned by a round trip that a client of ours would make.

Source: sd_watchdog_enabled(3), and ``WATCHDOG=1`` in sd_notify(3).
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, Final

from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acpbot.daemon.systemd import Notifier

log = get_logger(__name__)

_REQUEST: Final = b'{"jsonrpc":"2.0","id":1,"method":"health.get"}\n'


class _Unanswered(Exception):
    """No answer came, or something else."""


def interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between two pings: half of what systemd allows; ``None`` where it expects none of this process."""
    allowed, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if pid not in {"", str(os.getpid())} or not allowed:
        return None
    if not allowed.isdecimal() or int(allowed) == 0:
        log.warning("watchdog_ignored", WATCHDOG_USEC=allowed[:40])
        return None
    return int(allowed) / 2_000_000


class KeepAlive:
    """Pings every ``seconds``, as long as the daemon answers at ``socket`` within that time.

    A process that lives but serves nobody gets no ping: its socket was taken away or replaced, or its event loop is
    blocked. Without a management socket (``None``) a turn of the event loop is all that can be shown.
    """

    def __init__(self, notifier: Notifier, socket: str | None, *, seconds: float) -> None:
        self._notifier = notifier
        self._socket = socket
        self._seconds = seconds

    async def run(self) -> None:
        """Ping until cancelled."""
        asked = self._socket or "the event loop only: the management socket is off"
        log.info("watchdog", seconds=self._seconds, asks=asked)
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._seconds
            await self.beat()
            await asyncio.sleep(due - loop.time())

    async def beat(self) -> bool:
        """One round trip, and its ping; else a warning in the log. Whether there was a ping."""
        try:
            await self._answered()
        except _Unanswered as unanswered:
            log.warning("watchdog_unanswered", reason=str(unanswered))
            return False
        self._notifier.send(WATCHDOG="1")
        return True

    async def _answered(self) -> None:
        """Return in time, or raise _Unanswered."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._seconds):
                await (asyncio.sleep(0) if self._socket is None else _round_trip(self._socket))
        except TimeoutError:
            raise _Unanswered(f"no answer within {self._seconds:g} s") from None
        except (OSError, ValueError, RecursionError) as error:  # no JSON, or a line without an end
            raise _Unanswered(str(error)) from None
        if (took := loop.time() - started) > self._seconds:
            raise _Unanswered(f"the answer took {took:.1f} s")


async def _round_trip(path: str) -> None:
    """Connect as any client does, read hello, and have one request answered."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        hello = await _line(reader)
        if _kind(hello) == "too_many":
            return  # busy, and answering
        if hello.get("method") != "hello":
            raise _Unanswered("no hello")
        writer.write(_REQUEST)
        answer = await _line(reader)
        while "method" in answer:
            answer = await _line(reader)
        if "result" not in answer:
            raise _Unanswered("an error in answer to health.get")
    finally:
        writer.close()


async def _line(reader: asyncio.StreamReader) -> dict[str, Any]:
    line = await reader.readline()
    if not line:
        raise _Unanswered("the connection was closed")
    message = json.loads(line)
    if not isinstance(message, dict):
        raise _Unanswered("a line that is no JSON object")
    return message


def _kind(message: dict[str, Any]) -> str | None:
    error = message.get("error")
    data = error.get("data") if isinstance(error, dict) else None
    return data.get("kind") if isinstance(data, dict) else None
