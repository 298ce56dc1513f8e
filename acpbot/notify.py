"""systemd's readiness protocol: state lines sent to ``$NOTIFY_SOCKET``. Source: sd_notify(3)."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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
