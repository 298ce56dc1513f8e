"""The gateway: sessions that outlive their connections, replay on RESUME, and every way in which it can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from tests.fakes.discord import payloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.discord.world import World

GUILDS, MEMBERS, PRESENCES, GUILD_MESSAGES = 1 << 0, 1 << 1, 1 << 8, 1 << 9
GUILD_REACTIONS, DM_MESSAGES, DM_REACTIONS, MESSAGE_CONTENT = 1 << 10, 1 << 12, 1 << 13, 1 << 15
PRIVILEGED = {"members": MEMBERS, "presences": PRESENCES, "message_content": MESSAGE_CONTENT}

ENDS_THE_SESSION = (1000, 1001)
NO_MORE = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


@dataclass(eq=False)
class Session:
    """What one IDENTIFY began: `log` is every dispatch that it was ever owed; the s of ``log[i]`` is i + 1."""

    id: str
    intents: int
    log: list[dict[str, Any]] = field(default_factory=list)
    connection: Connection | None = None
    alive: bool = True

    def owe(self, event: str, data: dict[str, Any]) -> None:
        self.log.append({"op": 0, "t": event, "s": len(self.log) + 1, "d": data})
        if self.connection is not None:
            self.connection.wake.set()


@dataclass(eq=False)
class Connection:
    """One WebSocket. `sent` counts the dispatches of its session's log that it has been given.

    `code` is the close code of the side that closed first; None for a connection that was cut.
    """

    ws: web.WebSocketResponse
    request: web.Request
    session: Session | None = None
    sent: int = 0
    half_open: bool = False
    code: int | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    pump: asyncio.Task[None] | None = None

    def abort(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()

    async def close(self, code: int) -> None:
        self.code = code
        await self.ws.close(code=code)

    async def send(self, op: int, data: Any = None) -> None:
        if not self.half_open and not self.ws.closed:
            with contextlib.suppress(ConnectionError):  # the client may have left: its session waits for it
                await self.ws.send_str(json.dumps({"op": op, "d": data, "s": None, "t": None}))


class Gateway:
    """Counters are plain attributes; every change of one wakes those who wait on the server."""

    def __init__(self, world: World, *, token: str, heartbeat_interval: float, privileged: set[str]) -> None:
        self.world = world
        self.token = token
        self.heartbeat_interval = heartbeat_interval
        self.privileged = privileged
        self.url = ""
        self.sessions: list[Session] = []
        self.connections: list[Connection] = []
        self.paths: list[str] = []
        self.presences: list[dict[str, Any]] = []
        self.closes: list[int | None] = []
        self.identifies = self.resumes = self.replayed = self.heartbeats = self.refused = 0
        self.refusing: int | str | None = None

    # what happens

    def dispatch(self, event: str, intents: int, data: dict[str, Any] | Callable[[Session], dict[str, Any]]) -> None:
        """Owes `data` to each living session that asked for one of `intents` (0: to all)."""
        for session in self.sessions:
            if session.alive and (not intents or session.intents & intents):
                session.owe(event, data(session) if callable(data) else data)
        self.world.notify()

    @property
    def connected(self) -> bool:
        """Whether some connection has a session that is up to date."""
        return any(
            one.session is not None and one.sent == len(one.session.log) and not one.half_open
            for one in self.connections
        )

    # what a test can do to it

    def cut(self) -> None:
        """Drops every connection without a word, as a network does."""
        for connection in list(self.connections):
            connection.abort()

    async def close(self, code: int = 4000) -> None:
        """Closes every connection with this code; 1000, 1001, 4003, 4007 and 4009 end the session too."""
        for connection in list(self.connections):
            if connection.session is not None and code in (*ENDS_THE_SESSION, 4003, 4007, 4009):
                connection.session.alive = False
            await connection.close(code)

    async def reconnect(self) -> None:
        """Op 7: the client is to come back and resume."""
        for connection in list(self.connections):
            await connection.send(7)

    async def invalidate(self, *, resumable: bool = False) -> None:
        """Op 9."""
        for connection in list(self.connections):
            if connection.session is not None:
                connection.session.alive = resumable
            await connection.send(9, resumable)

    def expire(self) -> None:
        """The sessions without a connection are over and forgotten, as Discord's are after some minutes."""
        for session in self.sessions:
            session.alive = session.alive and session.connection is not None
        self.sessions = [session for session in self.sessions if session.alive]

    def half_open(self, *, deaf: bool = False) -> None:
        """Neither acknowledges nor dispatches from now on. With `deaf` it does not even see the client close."""
        for connection in self.connections:
            connection.half_open = True
            if deaf and connection.request.transport is not None:
                connection.request.transport.pause_reading()

    def refuse(self, how: int | str = "abort") -> None:
        """Refuses new connections, by an HTTP status or by ``"abort"``, until `accept()`."""
        self.refusing = how

    def accept(self) -> None:
        self.refusing = None

    def malformed(self, event: str = "MESSAGE_CREATE", data: dict[str, Any] | None = None) -> None:
        """A dispatch that lacks what the client needs (by default everything)."""
        self.dispatch(event, 0, {} if data is None else data)

    # serving

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """The handler of a WebSocket request."""
        self.paths.append(request.path)
        if self.refusing is not None:
            self.refused += 1
            self.world.notify()
            if isinstance(self.refusing, int):
                return web.Response(status=self.refusing)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        ws = web.WebSocketResponse()
        try:
            await ws.prepare(request)
        except ConnectionError:
            return ws  # the client died while it connected
        connection = Connection(ws, request)
        self.connections.append(connection)
        try:
            await connection.send(10, {"heartbeat_interval": int(self.heartbeat_interval * 1000)})
            while (frame := await ws.receive()).type not in NO_MORE:
                if frame.type is WSMsgType.TEXT and not await self._received(connection, frame.data):
                    break
            if frame.type is WSMsgType.CLOSE:
                connection.code = frame.data
        finally:
            self._lost(connection)
        return ws

    def _lost(self, connection: Connection) -> None:
        self.connections.remove(connection)
        self.closes.append(connection.code)
        if connection.pump is not None:
            connection.pump.cancel()
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None
            if connection.code in ENDS_THE_SESSION:
                session.alive = False
        self.world.notify()

    async def _received(self, connection: Connection, text: str) -> bool:
        """Whether to go on reading."""
        try:
            frame = json.loads(text)
            op, data = frame["op"], frame.get("d")
        except (ValueError, KeyError, TypeError):
            return await self._end(connection, 4002)
        if op == 1:
            self.heartbeats += 1
            await connection.send(11)
        elif op == 2:
            return await self._identify(connection, data)
        elif op == 6:
            return await self._resume(connection, data)
        elif connection.session is None:
            return await self._end(connection, 4003)
        elif op == 3:
            self.presences.append(data)
        elif op == 8:
            self._members(connection.session, data)
        elif op != 4:
            return await self._end(connection, 4001)
        self.world.notify()
        return True

    @staticmethod
    async def _end(connection: Connection, code: int) -> bool:
        await connection.close(code)
        return False

    async def _identify(self, connection: Connection, data: dict[str, Any]) -> bool:
        if connection.session is not None:
            return await self._end(connection, 4005)
        if data.get("token") != self.token:
            return await self._end(connection, 4004)
        intents = data.get("intents")
        if not isinstance(intents, int) or intents < 0:
            return await self._end(connection, 4013)
        if any(intents & bit for name, bit in PRIVILEGED.items() if name not in self.privileged):
            return await self._end(connection, 4014)
        self.identifies += 1
        session = Session(f"session-{self.identifies}", intents)
        self.sessions.append(session)
        world = self.world
        session.owe(
            "READY",
            {
                "v": 10,
                "user": payloads.user(world.bot),
                "guilds": [{"id": str(guild.id), "unavailable": True} for guild in world.guilds.values()],
                "session_id": session.id,
                "resume_gateway_url": f"{self.url}/resume",
                "application": {"id": str(world.application_id), "flags": world.application_flags},
            },
        )
        if intents & GUILDS:
            for guild in world.guilds.values():
                members = bool(intents & MEMBERS)
                session.owe("GUILD_CREATE", payloads.guild(guild, world.bot, all_members=members, gateway=True))
        self._attach(connection, session, 0)
        return True

    async def _resume(self, connection: Connection, data: dict[str, Any]) -> bool:
        if data.get("token") != self.token:
            return await self._end(connection, 4004)
        session = next((one for one in self.sessions if one.id == data.get("session_id") and one.alive), None)
        if session is None:
            await connection.send(9, False)
            return True
        seq = data.get("seq")
        if not isinstance(seq, int) or not 0 <= seq <= len(session.log):
            session.alive = False
            return await self._end(connection, 4007)
        self.resumes += 1
        self.replayed += len(session.log) - seq
        session.owe("RESUMED", {"_trace": []})
        if session.connection is not None:
            session.connection.abort()
        self._attach(connection, session, seq)
        return True

    def _attach(self, connection: Connection, session: Session, sent: int) -> None:
        connection.session, session.connection = session, connection
        connection.sent = sent
        connection.pump = asyncio.create_task(self._pump(connection, session), name="gateway pump")
        self.world.notify()

    async def _pump(self, connection: Connection, session: Session) -> None:
        """Gives the connection what its session is owed, in order, one frame a dispatch."""
        while True:
            connection.wake.clear()
            while connection.sent < len(session.log) and not connection.half_open:
                try:
                    await connection.ws.send_str(json.dumps(session.log[connection.sent]))
                except ConnectionError:
                    return  # the log stays: a RESUME gets it
                connection.sent += 1
            self.world.notify()
            await connection.wake.wait()

    def _members(self, session: Session, data: dict[str, Any]) -> None:
        """Op 8, in one chunk."""
        guild = self.world.guilds.get(int(data["guild_id"]))
        if guild is None:
            return
        wanted = data.get("user_ids")
        prefix = data.get("query") or ""
        found = [
            payloads.member(one)
            for one in guild.members.values()
            if (str(one.user.id) in map(str, wanted) if wanted is not None else one.user.name.startswith(prefix))
        ]
        chunk: dict[str, Any] = {"guild_id": str(guild.id), "members": found, "chunk_index": 0, "chunk_count": 1}
        if "nonce" in data:
            chunk["nonce"] = data["nonce"]
        session.owe("GUILD_MEMBERS_CHUNK", chunk)
