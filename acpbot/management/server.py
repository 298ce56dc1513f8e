"""The management server: who may connect, how many at a time, and how connections end."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

from acpbot.aio import TaskSet, Threads
from acpbot.errors import AccessDenied, TooMany, WireError
from acpbot.logs import SeldomLogger, get_logger
from acpbot.management.acceptor import Acceptor
from acpbot.management.access import PeerProcess, may_be_an_agents, peer_of
from acpbot.management.connect_rate import ConnectRate
from acpbot.management.connection import ClientConnection
from acpbot.management.dispatch import Dispatcher
from acpbot.management.lookups import CannotLookUp, UserLookups
from acpbot.management.protocol import PROTOCOL, SERVER, Limits, error_line
from acpbot.management.seats import Seats
from acpbot.storage.store import DENIED

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


class ManagementServer:
    """Serves a listening Unix socket. All methods belong to the event loop's thread."""

    def __init__(self, services: Services, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.dispatcher = Dispatcher(services, running=self.limits.running)
        self.begin: Begin = self.dispatcher.begin
        self.tasks = TaskSet("management")
        self.lookups = UserLookups(services.rule, self.limits.lookup_seconds)
        self.seldom_log = SeldomLogger(log)
        self._services = services
        self._acceptor: Acceptor | None = None
        self._connections: set[ClientConnection] = set()
        self._rate = ConnectRate()
        self._seats: Seats[ClientConnection] = Seats(self.limits)
        self._gone = asyncio.Event()
        self._admissions: dict[ClientConnection, asyncio.Task[None]] = {}
        # Two threads, so that a crowd of users who may only read does not delay an admin. They are started now: a peer
        # is looked at also where no other thread can be started.
        self._looks: dict[bool, Threads] = {}
        for of_admin in (False, True):
            self._looks[of_admin] = Threads("peer-look", 1)
            self._looks[of_admin].submit(int)

    async def start(self, listening: socket.socket) -> None:
        """Accept connections from now on."""
        await self.serve(listening)
        self.tasks.start(self.lookups.report_unknown_admins(), name="look up the admins")

    async def serve(self, listening: socket.socket) -> None:
        """Accept connections at this socket from now on, and at the one before no more; open ones stay."""
        if self._acceptor is not None:
            self._acceptor.close()
        self._acceptor = Acceptor(
            listening, partial(ClientConnection, self), name="management", refusal=self._refuse_early
        )

    async def close(self) -> None:
        """Accept no more; wait ``Limits.close_seconds`` for requests that are under way; close every connection."""
        if self._acceptor is not None:
            self._acceptor.close()
        for connection in tuple(self._connections):
            connection.pause()
        if not await self.tasks.wait(self.limits.close_seconds):
            await self.tasks.cancel()
        for connection in tuple(self._connections):
            connection.close()
        while self._connections:
            self._gone.clear()
            await self._gone.wait()
        self.lookups.close()
        for looks in self._looks.values():
            looks.shutdown()

    # What connections call (ConnectionOwner).

    async def user_name(self, uid: int) -> str:
        """The user's name, or the uid."""
        return await self.lookups.name(uid)

    def on_connected(self, connection: ClientConnection, transport: asyncio.Transport) -> None:
        """Welcome a client, or refuse it."""
        self._connections.add(connection)
        peer = peer_of(transport.get_extra_info("socket"))
        if peer is None:
            self._services.audit.record(None, "connect", "", DENIED)
            connection.refuse(AccessDenied("cannot serve you: the system does not say who you are"))
            return
        process = None
        if may_be_an_agents(peer):
            with self._lend():
                process = PeerProcess(transport.get_extra_info("socket"), peer.pid)
            connection.hold(process)
        # An agent's process may have an admin's uid; it has an admin's place until it is looked at, for milliseconds.
        if self._take_seat(connection, peer, self._services.rule.at_once(peer)):
            crashed = WireError("cannot serve you: an internal error; see acpbot's log")
            self._admissions[connection] = self.tasks.start(
                self._admit(connection, peer, process),
                name="admit a client",
                on_crash=lambda _: connection.refuse(crashed),
            )

    def on_closed(self, connection: ClientConnection) -> None:
        """Count the connection no more."""
        self._connections.discard(connection)
        self._seats.leave(connection)
        if (admission := self._admissions.pop(connection, None)) is not None:
            self.tasks.cancel_one(admission)  # a look that waits for its turn is not needed any more
        self._gone.set()
        if self._acceptor is not None and self._acceptor.short:
            # In the next pass: this one still has the connection's descriptor.
            asyncio.get_running_loop().call_soon(self._acceptor.refill)

    # Seats.

    def _refuse_early(self, accepted: socket.socket) -> bytes | None:
        """The line for a client that connects too often; it costs next to nothing, as it must."""
        peer = peer_of(accepted)
        if peer is None:
            return None
        is_admin = self._services.rule.at_once(peer) == "admin"
        if self._rate.allows(peer, is_admin=is_admin):
            return None
        error = TooMany("cannot serve you: you connect too often; keep a connection open")
        self.seldom_log.warning("client_refused", uid=peer.uid, pid=peer.pid, reason=str(error))
        return error_line(None, error)

    def _take_seat(self, connection: ClientConnection, peer: PeerCredentials, access: Access | None) -> bool:
        """Give the client a seat, or refuse it; returns whether it has one."""
        acceptor = self._acceptor
        short = acceptor is not None and acceptor.short
        if acceptor is not None and acceptor.exhausted:
            access = None  # the last descriptor stays reserved for refusals
        try:
            leaves = self._seats.admit(connection, peer.uid, access, short=short)
        except TooMany as error:
            self._refuse(connection, peer, error)
            return False
        self._make_room(leaves)
        return True

    def _refuse(self, connection: ClientConnection, peer: PeerCredentials, error: TooMany) -> None:
        self.seldom_log.warning("client_refused", uid=peer.uid, pid=peer.pid, reason=str(error))
        connection.make_room(error)

    def _make_room(self, leaves: ClientConnection | None) -> None:
        if leaves is not None:
            leaves.make_room(TooMany("cannot keep this connection: it was idle, and another client needs its place"))

    # Access.

    async def _admit(self, connection: ClientConnection, peer: PeerCredentials, process: PeerProcess | None) -> None:
        """Welcome a client, or refuse it. What can block is done in threads, and no other client waits for it."""
        problem = await self._objection(peer, process)
        if problem is not None:
            # It has the daemon's uid: it could permit its own tools, and read and end other people's sessions.
            self._services.audit.record(peer, "connect", "", DENIED)
            self._seats.leave(connection)
            connection.make_room(AccessDenied(f"cannot serve you: {problem}"))
            return
        access = self._services.rule.at_once(peer)
        if access is None:
            access = await self._look_up(connection, peer)
        try:
            leaves = self._seats.settle(connection, access)
        except TooMany as error:
            self._seats.leave(connection)
            self._refuse(connection, peer, error)
            return
        self._make_room(leaves)
        if access != "admin":
            connection.release()
        self._welcome(connection, peer, access)

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

    def _lend(self) -> contextlib.AbstractContextManager[None]:
        """Lend descriptors to a look at a peer: one that fails would keep admins out when none are left."""
        return contextlib.nullcontext() if self._acceptor is None else self._acceptor.lend()

    async def _is_of_an_agent(self, peer: PeerCredentials) -> bool | None:
        try:
            with self._lend():
                async with asyncio.timeout(self.limits.lookup_seconds):
                    looks = self._looks[self._services.rule.at_once(peer) == "admin"]
                    return await looks.run(self._services.is_of_an_agent, peer.pid)
        except TimeoutError:
            reason = f"no answer in {self.limits.lookup_seconds:g} s"
            self.seldom_log.warning("peer_not_examined", uid=peer.uid, pid=peer.pid, reason=reason)
            return None

    async def _look_up(self, connection: ClientConnection, peer: PeerCredentials) -> Access:
        try:
            return await self.lookups.access(peer)
        except CannotLookUp as error:
            connection.access_problem = str(error)
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
