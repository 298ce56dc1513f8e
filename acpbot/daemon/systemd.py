"""What this service reports to its service manager: its state, and that it still answers.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from acpbot.aio import Backoff, retry
from acpbot.logs import get_logger
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = get_logger(__name__)

EXTEND_SECONDS: Final = 15.0
"""How much time each message of a stop that goes on asks for; the next message follows after a second."""

_FULL_BACKLOG: Final = Backoff(first=0.05, most=0.05)
_VALUE_MAX: Final = 1000
_REQUEST: Final = b'{"jsonrpc":"2.0","id":1,"method":"health.get"}\n'


class ServiceManager:
    """Sends state lines to ``$NOTIFY_SOCKET``; without that variable it sends nothing.

    ``status`` returns one line for people, such as 'running: 1 session'. A manager that does not listen is ignored: it
    must not harm the service.
    """

    def __init__(self, environ: Mapping[str, str], status: Callable[[], str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = status
        # Opened once: a service that has no descriptor left must still report that it works.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        weakref.finalize(self, self._socket.close)
        self._sent_status = ""
        self._stopping = False

    def ready(self) -> None:
        """Report that the service has started, or has read its configuration again."""
        self._send_status(READY="1")

    def reloading(self) -> None:
        """Report that the configuration is read again; :meth:`ready` must follow, also after an error."""
        self.send(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))

    def stopping(self) -> None:
        """Report that the service stops, which may take longer than the manager would wait without a message."""
        self._stopping = True
        self._send_status(STOPPING="1")

    def tick(self) -> None:
        """Report a changed status, and that a stop goes on. Called once a second."""
        if self._stopping or self._status() != self._sent_status:
            self._send_status()

    def send(self, **state: str) -> None:
        """Send lines such as ``READY="1"``; each value is one clean line."""
        if not self._address:
            return
        lines = "\n".join(f"{name}={one_line(value, _VALUE_MAX)}" for name, value in state.items())
        with contextlib.suppress(OSError):
            self._socket.sendto(lines.encode(), self._address)

    def _send_status(self, **state: str) -> None:
        if self._stopping:
            state["EXTEND_TIMEOUT_USEC"] = str(round(EXTEND_SECONDS * 1_000_000))
        self._sent_status = self._status()
        self.send(**state, STATUS=self._sent_status)


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between two pings: half of what systemd allows; ``None`` where it expects none of this process."""
    allowed, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if pid not in {"", str(os.getpid())} or not allowed:
        return None
    if not allowed.isdecimal() or int(allowed) == 0:
        log.warning("watchdog_ignored", WATCHDOG_USEC=allowed[:40])
        return None
    return int(allowed) / 2_000_000


class _Unanswered(Exception):
    """The daemon has not answered in time, or not as it should."""


class SystemdWatchdog:
    """Pings the service manager every ``seconds``, as long as the daemon answers at ``socket`` within that time.

    Each ping follows a round trip that any client could make. So a daemon that runs but serves nobody sends none: its
    socket was removed or replaced, or its event loop is blocked. Without a management socket (``None``) a pass of the
    event loop has to do.
    """

    def __init__(self, manager: ServiceManager, socket: str | None, *, seconds: float) -> None:
        self._manager = manager
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
        """Make one round trip, then ping, else log a warning; returns whether there was a ping."""
        try:
            await self._check_answer()
        except _Unanswered as unanswered:
            log.warning("watchdog_unanswered", reason=str(unanswered))
            return False
        self._manager.send(WATCHDOG="1")
        return True

    async def _check_answer(self) -> None:
        """Return in time, or raise _Unanswered."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._seconds):
                await (asyncio.sleep(0) if self._socket is None else _round_trip(self._socket))
        except TimeoutError:
            raise _Unanswered(f"no answer within {self._seconds:g} s") from None
        except (OSError, ValueError, RecursionError) as error:  # no JSON, or a line without an end
            if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
                return  # there is no descriptor for our side; a restart would end every session
            raise _Unanswered(str(error)) from None
        if (took := loop.time() - started) > self._seconds:
            raise _Unanswered(f"the answer took {took:.1f} s")


async def _round_trip(path: str) -> None:
    """Connect as any client does, read hello, and have one request answered."""
    reader, writer = await asyncio.open_unix_connection(sock=await _connect(path))
    try:
        hello = await _read(reader)
        if _error_kind(hello) == "too_many":
            return  # busy, and answering
        if hello.get("method") != "hello":
            raise _Unanswered("no hello")
        writer.write(_REQUEST)
        answer = await _read(reader)
        while "method" in answer:
            answer = await _read(reader)
        if "result" not in answer:
            raise _Unanswered("an error in answer to health.get")
    finally:
        writer.close()


async def _connect(path: str) -> socket.socket:
    """Connect, also where many others do: a full backlog fails at once, and is tried again (unix(7), EAGAIN)."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    async def attempt() -> None:
        client.connect(path)

    try:
        await retry(attempt, on=(BlockingIOError,), backoff=_FULL_BACKLOG)
    except BaseException:
        client.close()
        raise
    return client


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    line = await reader.readline()
    if not line:
        raise _Unanswered("the connection was closed")
    message = json.loads(line)
    if not isinstance(message, dict):
        raise _Unanswered("a line that is no JSON object")
    return message


def _error_kind(message: dict[str, Any]) -> str | None:
    error = message.get("error")
    data = error.get("data") if isinstance(error, dict) else None
    return data.get("kind") if isinstance(data, dict) else None
