"""Names, error kinds and limits of the management wire; PROTOCOL.md is its description for people."""

from __future__ import annotations

from typing import Any, Final, Literal

PROTOCOL: Final = 1

MAX_LINE: Final = 65_536
MAX_DEPTH: Final = 32
MAX_CONNECTIONS: Final = 32
LINE_SECONDS: Final = 10.0
MAX_RUNNING: Final = 16
"""Requests of one connection that may run at a time; the next one is answered ``too_many``."""
MAX_UNSENT: Final = 2 * 1024 * 1024
"""Bytes that a client may leave unread before a stream gets a snapshot in their place, or it is cut."""

Access = Literal["read", "admin"]


def hello(*, version: str, state: str, access: Access, capabilities: list[str]) -> dict[str, Any]:
    """The params of the server's first line."""
    return {
        "server": "acpbot",
        "version": version,
        "protocol": PROTOCOL,
        "state": state,
        "access": access,
        "capabilities": capabilities,
    }
