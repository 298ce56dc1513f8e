"""Notices that clients do not reach the management socket by its path any more, and has it bound again.

Whoever runs as the daemon's user, as agents do, can remove or replace the socket; so can anybody who tidies up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from acpbot.aio import DISK
from acpbot.errors import ConfigError, StartError
from acpbot.logs import get_logger
from acpbot.text import operator_line

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from pathlib import Path

log = get_logger(__name__)


class Binding(Protocol):
    """A socket that is bound at a path. Its methods may block."""

    path: Path

    def lost(self) -> str | None:
        """Why clients do not reach it by its path, as a clause; ``None`` where they do, or nobody can tell."""

    def bind_again(self) -> socket.socket:
        """Bind another socket at the path. Raises StartError, ConfigError, OSError."""


class SocketWatch:
    """Call :meth:`look` every few seconds. ``problem`` is why clients do not reach the socket, or ``None``.

    ``serve`` accepts connections at another socket than before.
    """

    def __init__(self, binding: Binding, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._binding = binding
        self._serve = serve
        self.problem: str | None = None

    async def look(self) -> None:
        """Look whether the socket is in its place, and bind it again where it is not."""
        path = str(self._binding.path)
        lost = await DISK.run(self._binding.lost)
        if lost is None:
            self.problem = None
            return
        if self.problem is None:
            log.warning("socket_lost", path=path, reason=lost)
        try:
            listening = await DISK.run(self._binding.bind_again)
        except (StartError, ConfigError, OSError) as error:
            reason = str(error)
            if isinstance(error, OSError):
                reason = f"cannot serve {path}: {error.strerror or error}"
            self._report(operator_line(f"{reason} (the socket was lost: {lost})"))
            return
        await self._serve(listening)
        self.problem = None
        log.warning("socket_bound_again", path=path)

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            log.error("socket_not_bound", reason=problem)
        self.problem = problem
