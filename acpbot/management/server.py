"""The management server: who may connect, how many at a time, and how connections end."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from acpbot.aio import TaskSet
from acpbot.errors import AccessDenied, TooMany, WireError
from acpbot.logs import get_logger
from acpbot.management.access import peer_of
from acpbot.management.audit import DENIED
from acpbot.management.connection import ClientConnection
from acpbot.management.dispatch import Dispatcher
from acpbot.management.protocol import PROTOCOL, SERVER, Limits

if TYPE_CHECKING:
    import socket

    from acpbot.management.access import PeerCredentials
    from acpbot.management.connection import Begin
    from acpbot.management.method import Services
    from acpbot.management.protocol import Access

log = get_logger(__name__)

# From Python 3.13 on asyncio unlinks a server's socket when it closes; ours is the listener's, or systemd's.
_KEEP_SOCKET: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class ManagementServer:
    """Serves a listening Unix socket. All methods belong to the event loop's thread."""

    def __init__(self, services: Services, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.dispatcher = Dispatcher(services, running=self.limits.running)
        self.begin: Begin = self.dispatcher.begin
        self.tasks = TaskSet("management")
        self._services = services
        self._server: asyncio.Server | None = None
        self._connections: set[ClientConnection] = set()
        self._gone = asyncio.Event()

    async def start(self, listening: socket.socket) -> None:
        """Accept connections from now on."""
        for admin in await asyncio.to_thread(self._services.rule.unknown):
            log.warning("admin_unknown", admin=admin, hint="see [management] admin_users")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(partial(ClientConnection, self), sock=listening, **_KEEP_SOCKET)

    async def close(self) -> None:
        """Accept no more; wait ``Limits.close_seconds`` for requests that are under way; close every connection."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.pause()
        if not await self.tasks.wait(self.limits.close_seconds):
            await self.tasks.cancel()
        for connection in tuple(self._connections):
            connection.close()
        while self._connections:
            self._gone.clear()
            await self._gone.wait()

    # What connections call (ConnectionOwner).

    def on_connected(self, connection: ClientConnection, transport: asyncio.Transport) -> None:
        """Welcome a client, or refuse it."""
        if len(self._connections) >= self.limits.connections:
            connection.refuse(
                TooMany(f"cannot serve another connection: {self.limits.connections} are open; close one, or wait")
            )
            return
        peer = peer_of(transport.get_extra_info("socket"))
        if peer is None:
            self._services.audit.record(None, "connect", "", DENIED)
            connection.refuse(AccessDenied("cannot serve you: the system does not say who you are"))
            return
        if self._services.is_of_an_agent(peer.pid):
            # It has the daemon's uid: it could permit its own tools, and read and end other people's sessions.
            self._services.audit.record(peer, "connect", "", DENIED)
            connection.refuse(AccessDenied("cannot serve you: an agent's tools may not manage acpbot"))
            return
        self._connections.add(connection)
        access = self._services.rule.at_once(peer)
        if access is None:
            crashed = WireError("cannot serve you: an internal error; see acpbot's log")
            work = self._look_up(connection, peer)
            self.tasks.start(work, name="look up the user", on_crash=lambda _: connection.refuse(crashed))
        else:
            self._welcome(connection, peer, access)

    def on_closed(self, connection: ClientConnection) -> None:
        """Count the connection no more."""
        self._connections.discard(connection)
        self._gone.set()

    async def _look_up(self, connection: ClientConnection, peer: PeerCredentials) -> None:
        """Find the peer's access in a thread: a directory service may be slow, and no other client waits for it."""
        access: Access = "read"
        try:
            rule = self._services.rule
            access = await asyncio.wait_for(asyncio.to_thread(rule.looked_up, peer), self.limits.lookup_seconds)
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no answer in {self.limits.lookup_seconds:g} s"
            log.warning("admin_lookup_failed", uid=peer.uid, reason=reason)
        self._welcome(connection, peer, access)

    def _welcome(self, connection: ClientConnection, peer: PeerCredentials, access: Access) -> None:
        hello = {
            "server": SERVER,
            "version": self._services.version,
            "protocol": PROTOCOL,
            "state": self._services.state(),
            "access": access,
            "capabilities": sorted(self.dispatcher.methods),
        }
        connection.welcome(peer, access, hello)
