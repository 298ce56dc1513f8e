"""What systemd is told of this service: state lines sent to ``$NOTIFY_SOCKET``. Source: sd_notify(3)."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXTEND_SECONDS: Final = 15.0
"""How far ahead a stop that takes its time is announced; the next word comes after a second, the last at the end."""


class Notifier:
    """Tells a service manager about this process; without ``NOTIFY_SOCKET`` it tells nobody.

    Nothing is raised: a manager that does not listen must not hurt the service.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def send(self, **state: str) -> None:
        """Send lines such as ``READY="1"``, ``STATUS="..."``; newlines in values become spaces."""
        if not self._address:
            return
        lines = "\n".join(f"{name}={' '.join(value.split())}" for name, value in state.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)
            to.sendto(lines.encode(), self._address)


class Service:
    """This service, as its manager sees it: ready, reloading, stopping, and a line of status from ``status``."""

    def __init__(self, notifier: Notifier, status: Callable[[], str]) -> None:
        self._notifier = notifier
        self._status = status
        self._told = ""
        self._stopping = False

    def ready(self) -> None:
        """It has started, or has read its configuration again."""
        self._send(READY="1")

    def reloading(self) -> None:
        """It reads its configuration again; :meth:`ready` follows, whatever comes of that."""
        self._notifier.send(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))

    def stopping(self) -> None:
        """It begins to end, which may take longer than the manager would wait for a sign of life."""
        self._stopping = True
        self._send(STOPPING="1", **self._extension())

    def tick(self) -> None:
        """Tell what has changed, and that a stop goes on. Called once a second."""
        if self._stopping:
            self._send(**self._extension())
        elif self._status() != self._told:
            self._send()

    def _send(self, **state: str) -> None:
        self._told = self._status()
        self._notifier.send(**state, STATUS=self._told)

    def _extension(self) -> dict[str, str]:
        return {"EXTEND_TIMEOUT_USEC": str(round(EXTEND_SECONDS * 1_000_000))} if self._stopping else {}
