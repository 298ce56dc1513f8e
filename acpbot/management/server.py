"""The management server: who may connect, how many at a time, and how connections end."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from acpbot.aio import TaskSet
from acpbot.errors import AccessDenied, TooMany
from acpbot.logs import get_logger
from acpbot.management.access import PeerProcess, may_be_an_agents, peer_of
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

_ENDED: Final = "the process that connected has ended; connect from one that goes on running"
_UNKNOWN: Final = (
    "acpbot can't see which process started yours, and an agent's tools may not manage it; "
    "run acpctl in the container that acpbot runs in, or as another user that [management] admin_users names"
)

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
        self._looks = ThreadPoolExecutor(1, thread_name_prefix="peer-look")
        self._looks.submit(int)  # starts the thread: a peer is looked at also where no other thread can be started

    async def start(self, listening: socket.socket) -> None:
        """Accept connections from now on."""
        for admin in await asyncio.to_thread(self._services.rule.unknown):
            log.warning("admin_unknown", admin=admin, hint="see [management] admin_users")
        await self.serve(listening)

    async def serve(self, listening: socket.socket) -> None:
        """Accept connections at this socket from now on, and at the one before no more; open ones stay."""
        loop = asyncio.get_running_loop()
        before = self._server
        self._server = await loop.create_unix_server(partial(ClientConnection, self), sock=listening, **_KEEP_SOCKET)
        if before is not None:
            before.close()

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
        self._looks.shutdown(wait=False)

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
        process = None
        if may_be_an_agents(peer):
            process = PeerProcess(transport.get_extra_info("socket"), peer.pid)
            connection.hold(process)
        self._connections.add(connection)
        self.tasks.start(self._admit(connection, peer, process), name="admit a client")

    def on_closed(self, connection: ClientConnection) -> None:
        """Count the connection no more."""
        self._connections.discard(connection)
        self._gone.set()

    async def _admit(self, connection: ClientConnection, peer: PeerCredentials, process: PeerProcess | None) -> None:
        """Welcome a client, or refuse it. What can block is done in threads, and no other client waits for it."""
        problem = await self._objection(peer, process)
        if problem is not None:
            # It has the daemon's uid: it could permit its own tools, and read and end other people's sessions.
            self._services.audit.record(peer, "connect", "", DENIED)
            connection.refuse(AccessDenied(f"cannot serve you: {problem}"))
            return
        access = self._services.rule.at_once(peer)
        self._welcome(connection, peer, await self._look_up(peer) if access is None else access)

    async def _objection(self, peer: PeerCredentials, process: PeerProcess | None) -> str | None:
        """Why the peer may not connect. Where an agent's process could have its uid (``process``), unknown is a no."""
        if process is not None and not process.alive:
            return _ENDED
        of_an_agent = await self._is_of_an_agent(peer)
        if of_an_agent:
            return "an agent's tools may not manage acpbot"
        if process is None:
            return None
        if not process.alive:  # what was looked at may be a later process with its pid
            return _ENDED
        return _UNKNOWN if of_an_agent is None else None

    async def _is_of_an_agent(self, peer: PeerCredentials) -> bool | None:
        look = asyncio.get_running_loop().run_in_executor(self._looks, self._services.is_of_an_agent, peer.pid)
        try:
            return await asyncio.wait_for(look, self.limits.lookup_seconds)
        except TimeoutError:
            log.warning("peer_not_examined", pid=peer.pid, reason=f"no answer in {self.limits.lookup_seconds:g} s")
            return None

    async def _look_up(self, peer: PeerCredentials) -> Access:
        """Find the peer's access in a thread: a directory service may be slow."""
        try:
            rule = self._services.rule
            return await asyncio.wait_for(asyncio.to_thread(rule.looked_up, peer), self.limits.lookup_seconds)
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no answer in {self.limits.lookup_seconds:g} s"
            log.warning("admin_lookup_failed", uid=peer.uid, reason=reason)
            return "read"

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
