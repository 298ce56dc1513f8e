"""The management server: who may connect, how many, and how all of it ends."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

from acpbot.errors import AccessDenied, TooMany
from acpbot.logs import get_logger
from acpbot.management import audit, protocol
from acpbot.management.access import peer_of
from acpbot.management.connection import Connection
from acpbot.management.dispatch import Dispatcher
from acpbot.management.protocol import Limits

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine

    from acpbot.management.access import Peer
    from acpbot.management.method import Services
    from acpbot.management.protocol import Access

log = get_logger(__name__)

# From Python 3.13 on asyncio unlinks a server's socket when it closes; ours is the listener's, or systemd's.
_KEEP_SOCKET: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class ManagementServer:
    """Serves a listening Unix socket. All methods belong to the event loop's thread."""

    def __init__(self, services: Services, limits: Limits | None = None) -> None:
        self.services = services
        self.limits = limits or Limits()
        self.dispatcher = Dispatcher(services, running=self.limits.running)
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()

    async def start(self, listening: socket.socket) -> None:
        """Accept from now on."""
        for admin in await asyncio.to_thread(self.services.rule.unknown):
            log.warning("admin_unknown", admin=admin, hint="see [management] admin_users")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Connection(self), sock=listening, **_KEEP_SOCKET)

    async def close(self) -> None:
        """Accept no more, answer what is under way within a bound, and close every connection."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.pause()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.limits.close_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        for connection in tuple(self._connections):
            connection.close()
        while self._connections:
            self._gone.clear()
            await self._gone.wait()

    # What connections call (Home).

    def arrived(self, connection: Connection, transport: asyncio.Transport) -> None:
        """Welcome a client, or turn it away."""
        if len(self._connections) >= self.limits.connections:
            connection.turn_away(
                TooMany(f"cannot serve another connection: {self.limits.connections} are open; close one, or wait")
            )
            return
        peer = peer_of(transport.get_extra_info("socket"))
        if peer is None:
            audit.record(None, "connect", "", audit.DENIED)
            connection.turn_away(AccessDenied("cannot serve you: the system does not say who you are"))
            return
        if self.services.is_of_an_agent(peer.pid):
            # It has the daemon's uid: it could permit its own tools, and read and end other people's sessions.
            audit.record(peer, "connect", "", audit.DENIED)
            connection.turn_away(AccessDenied("cannot serve you: an agent's tools may not manage acpbot"))
            return
        self._connections.add(connection)
        access = self.services.rule.at_once(peer)
        if access is None:
            self.spawn(self._look_up(connection, peer))
        else:
            self._welcome(connection, peer, access)

    def left(self, connection: Connection) -> None:
        """Its place is free."""
        self._connections.discard(connection)
        self._gone.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it, and hold it: the event loop does not."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_up(self, connection: Connection, peer: Peer) -> None:
        """The system's users may be kept far away: nobody else waits for them."""
        access: Access = "read"
        try:
            rule = self.services.rule
            access = await asyncio.wait_for(asyncio.to_thread(rule.looked_up, peer), self.limits.lookup_seconds)
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no answer in {self.limits.lookup_seconds:g} s"
            log.warning("admin_lookup_failed", uid=peer.uid, reason=reason)
        self._welcome(connection, peer, access)

    def _welcome(self, connection: Connection, peer: Peer, access: Access) -> None:
        services = self.services
        hello = protocol.hello(
            version=services.version,
            state=services.state(),
            access=access,
            capabilities=self.dispatcher.capabilities,
        )
        connection.welcome(peer, access, hello)
