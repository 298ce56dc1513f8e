"""The management server: connections, limits, dispatch. It never waits for a reader.

A client that sends faster than it is served is read more slowly; one that does not read is not read either, misses
stream events (and gets a snapshot in their place), and is cut when it has stood still for too long.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot import jsonrpc
from acpbot.errors import AccessDenied, AcpbotError, InvalidParams, TimedOut, TooMany, WireError
from acpbot.management import audit, protocol
from acpbot.management.access import peer_of
from acpbot.management.methods import chat, daemon, health, sessions
from acpbot.management.route import Call

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from acpbot.management.access import Peer
    from acpbot.management.protocol import Access
    from acpbot.management.route import Event, Method, Services

log = logging.getLogger(__name__)

METHODS: Final[dict[str, Method]] = {**health.METHODS, **sessions.METHODS, **chat.METHODS, **daemon.METHODS}

_CLOSE_SECONDS: Final = 2.0
_LOW_WATER: Final = 64 * 1024


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server holds clients to; seconds and bytes. ``stall_seconds``: how long a client may read nothing."""

    connections: int = protocol.MAX_CONNECTIONS
    line_seconds: float = protocol.LINE_SECONDS
    running: int = protocol.MAX_RUNNING
    unsent: int = protocol.MAX_UNSENT
    stall_seconds: float = 60.0


class ManagementServer:
    """Serves a listening Unix socket."""

    def __init__(self, services: Services, limits: Limits | None = None) -> None:
        self.services = services
        self.limits = limits or Limits()
        self.methods = {name: method for name, method in METHODS.items() if method.served(services)}
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Accept from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Connection(self), sock=listening)

    def hello(self, access: Access) -> bytes:
        """The first line."""
        services = self.services
        params = protocol.hello(
            version=services.version, state=services.state(), access=access, capabilities=sorted(self.methods)
        )
        return jsonrpc.encode_notification("hello", params)

    async def close(self) -> None:
        """Accept no more, let running requests end within a bound, and close every connection."""
        if self._server is not None:
            self._server.close()
        running = [task for connection in self.connections for task in connection.running]
        if running:
            await asyncio.wait(running, timeout=_CLOSE_SECONDS)
        for connection in tuple(self.connections):
            connection.close()


class _Stream:
    """Notifications of one method; what can't be sent now is replaced by a snapshot when there is room again."""

    def __init__(
        self, connection: Connection, method: str, snapshot: Callable[[], list[Event]], leave: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._method = method
        self._snapshot = snapshot
        self.leave = leave
        self.missed = False

    def send(self, params: Event) -> None:
        if self.missed or self._connection.stalled:
            self.missed = True
        else:
            self._connection.write(jsonrpc.encode_notification(self._method, params))

    def catch_up(self) -> None:
        if self.missed:
            self.missed = False
            for params in self._snapshot():
                self.send(params)


class Connection(asyncio.Protocol):
    """One client. All methods belong to the event loop's thread."""

    def __init__(self, server: ManagementServer) -> None:
        self._server = server
        self._decoder = jsonrpc.StrictDecoder(max_line=protocol.MAX_LINE, max_depth=protocol.MAX_DEPTH)
        self._waiting: deque[jsonrpc.Message] = deque()
        self._streams: dict[str, _Stream] = {}
        self._line_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._access: Access | None = None
        self._peer: Peer | None = None
        self.running: set[asyncio.Task[None]] = set()
        self.stalled = False

    @property
    def peer(self) -> Peer:
        """Who is there; known from the first byte on."""
        if self._peer is None:
            raise AccessDenied("cannot tell who you are")
        return self._peer

    # Life.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or say why not."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        server = self._server
        if len(server.connections) >= server.limits.connections:
            self._turn_away(TooMany(f"cannot serve you: {server.limits.connections} connections are open; close one"))
            return
        self._peer = peer_of(transport.get_extra_info("socket"))
        self._access = server.services.rule.access(self._peer)
        if self._access is None:
            audit.record(self._peer, "connect", "", "denied")
            self._turn_away(AccessDenied("cannot serve you: the system does not say who you are"))
            return
        server.connections.add(self)
        transport.set_write_buffer_limits(high=server.limits.unsent // 4, low=_LOW_WATER)
        transport.write(server.hello(self._access))

    def _turn_away(self, error: WireError) -> None:
        self.write(jsonrpc.encode_error(None, error.code, str(error), error.kind))
        self.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """The client is gone: end what it subscribed to; what it asked for goes on."""
        self._server.connections.discard(self)
        self._transport = None
        self._waiting.clear()
        for timer in (self._line_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        for key in tuple(self._streams):
            self.end_stream(key)

    def close(self) -> None:
        """Send what is queued, then close."""
        if self._transport is not None:
            self._transport.close()

    # Writing.

    def write(self, line: bytes) -> None:
        """Queue a line; a client that lets more than the limit pile up is cut."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() + len(line) > max(self._server.limits.unsent, len(line)):
            log.info("client_cut", extra={"fields": {"pid": self.peer.pid, "reason": "it does not read"}})
            transport.abort()
            return
        transport.write(line)

    def pause_writing(self) -> None:
        """The client does not read: neither do we."""
        self.stalled = True
        loop = asyncio.get_running_loop()
        if not self._streams:
            self._stall_timer = loop.call_later(self._server.limits.stall_seconds, self._cut_stalled)
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self.stalled = False
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        for stream in tuple(self._streams.values()):
            stream.catch_up()
        self._advance()

    def _cut_stalled(self) -> None:
        if self._transport is not None:
            log.info("client_cut", extra={"fields": {"pid": self.peer.pid, "reason": "it stopped reading"}})
            self._transport.abort()

    # Reading.

    def data_received(self, data: bytes) -> None:
        """Take bytes; whole requests are served in the order in which they came."""
        if self._access is None:
            return
        messages = self._decoder.receive(data)
        self._watch_line(whole=bool(messages))
        self._waiting.extend(messages)
        self._advance()

    def eof_received(self) -> bool:
        """The client has said all: its last answers are still sent."""
        if not self._waiting and not self.running:
            return False
        self._closing_after_answers = True
        return True

    _closing_after_answers = False

    def _watch_line(self, *, whole: bool) -> None:
        if self._line_timer is not None and (whole or not self._decoder.mid_line):
            self._line_timer.cancel()
            self._line_timer = None
        if self._line_timer is None and self._decoder.mid_line:
            seconds = self._server.limits.line_seconds
            self._line_timer = asyncio.get_running_loop().call_later(seconds, self._line_late, seconds)

    def _line_late(self, seconds: float) -> None:
        self._turn_away(TimedOut(f"cannot wait longer: a line's newline has to come within {seconds:g} s"))

    def _advance(self) -> None:
        """Serve what waits, as far as the limits allow, and read on when nothing waits."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        while self._waiting and not self.stalled and len(self.running) < self._server.limits.running:
            self._serve(self._waiting.popleft())
        if self._waiting or self.stalled:
            transport.pause_reading()
        elif not transport.is_closing():
            transport.resume_reading()
        if self._closing_after_answers and not self._waiting and not self.running:
            self.close()

    # Dispatch.

    def _serve(self, message: jsonrpc.Message) -> None:
        if isinstance(message, jsonrpc.Malformed):
            self.write(jsonrpc.encode_error(message.id, message.code, message.reason, message.kind))
            if message.fatal:
                self._waiting.clear()
                self.close()
            return
        if not isinstance(message, jsonrpc.Request):
            raise TypeError(f"the strict decoder gave a {type(message).__name__}")
        method = self._server.methods.get(message.method)
        if method is None:
            reason = f"cannot serve {message.method[:80]!r}: there is no such method here"
            self.write(jsonrpc.encode_error(message.id, jsonrpc.METHOD_NOT_FOUND, reason, "invalid"))
            return
        call = Call(self._server.services, self)
        try:
            self._check_access(method, message.method)
            result = method.handler(call, _params(method, message))
        except Exception as error:  # noqa: BLE001 - every failure is answered; unexpected ones are logged
            self._failed(message, call, error)
            return
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(self._finish(message, call, result))
            self.running.add(task)
            task.add_done_callback(self._ended)
        else:
            self._answer(message, call, result)

    def _check_access(self, method: Method, name: str) -> None:
        if method.access == "admin" and self._access != "admin":
            raise AccessDenied(f"cannot do {name}: uid {self.peer.uid} may only read; ask an admin user")

    async def _finish(self, message: jsonrpc.Request, call: Call, result: Any) -> None:
        try:
            answer = await result
        except Exception as error:  # noqa: BLE001 - every failure is answered; unexpected ones are logged
            self._failed(message, call, error)
        else:
            self._answer(message, call, answer)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        self._advance()

    def _answer(self, message: jsonrpc.Request, call: Call, result: Any) -> None:
        if call.notes:
            audit.record(self._peer, message.method, call.notes["target"], call.notes["outcome"])
        self.write(jsonrpc.encode_result(message.id, result))

    def _failed(self, message: jsonrpc.Request, call: Call, error: Exception) -> None:
        code, kind, reason = jsonrpc.INTERNAL_ERROR, "internal", "cannot do it: internal error; see acpbot's log"
        if isinstance(error, WireError):
            code, kind, reason = error.code, error.kind, str(error)
        elif isinstance(error, AcpbotError):
            reason = str(error)
        else:
            log.error("method_crashed", exc_info=error, extra={"fields": {"method": message.method}})
        if call.notes or isinstance(error, AccessDenied):
            target = call.notes.get("target") or str(message.params)
            audit.record(self._peer, message.method, target, "denied" if kind == "access_denied" else kind)
        self.write(jsonrpc.encode_error(message.id, code, reason, kind))

    # Streams (Client).

    def stream(self, key: str, method: str, snapshot: Callable[[], list[Event]], leave: Callable[[], None]) -> _Stream:
        """Open a stream of notifications, replacing one of the same key."""
        self.end_stream(key)
        self._streams[key] = _Stream(self, method, snapshot, leave)
        return self._streams[key]

    def end_stream(self, key: str) -> bool:
        """End a stream; whether there was one."""
        stream = self._streams.pop(key, None)
        if stream is None:
            return False
        stream.leave()
        return True


def _params(method: Method, message: jsonrpc.Request) -> Any:
    try:
        return msgspec.convert(message.params, method.params, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidParams(f"cannot take the parameters of {message.method}: {error}") from None
