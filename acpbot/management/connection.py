"""One client of the management socket: lines in, lines out, within limits. Nothing ever waits for a client.

Three measures keep a client from costing more than its share:

- The daemon holds up to ``Limits.unsent`` bytes that the client has not read. From a quarter of that on, its requests
  wait and nothing more is read from it; from a half on, its streams skip events (a snapshot follows); an answer beyond
  the whole ends the connection.
- The daemon reads 16 KiB at a time, and serves its requests for a millisecond at a time, so that other clients have
  their turn in between.
- A line must end in time after its first byte, and a client whose requests wait must read its answers in time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot import jsonrpc
from acpbot.errors import TimedOut, TooMany
from acpbot.logs import get_logger
from acpbot.management.protocol import error_line, notification_line
from acpbot.management.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, Protocol

    from acpbot.aio import TaskSet
    from acpbot.errors import WireError
    from acpbot.logs import SeldomLogger
    from acpbot.management.access import PeerCredentials, PeerProcess
    from acpbot.management.protocol import Access, Limits
    from acpbot.management.stream import Event

    Begin = Callable[["ClientConnection", jsonrpc.Request], "Answer | Coroutine[Any, Any, Answer]"]

    class ConnectionOwner(Protocol):
        """What a connection needs of its server. ``begin``: :meth:`acpbot.management.dispatch.Dispatcher.begin`."""

        limits: Limits
        tasks: TaskSet
        begin: Begin
        seldom_log: SeldomLogger

        async def user_name(self, uid: int) -> str:
            """The user's name, or the uid."""

        def on_connected(self, connection: ClientConnection, transport: asyncio.Transport) -> None:
            """Welcome the client, now or later, or refuse it."""

        def on_closed(self, connection: ClientConnection) -> None:
            """Forget the connection."""


log = get_logger(__name__)

READ_SIZE: Final = 16 * 1024
TURN_SECONDS: Final = 0.001


class Answer(NamedTuple):
    """A line to send, and the streams that it opens: they are released once the line is queued."""

    line: bytes
    opened: list[Stream]


class ClientConnection(asyncio.BufferedProtocol):
    """Serves one client. All methods belong to the event loop's thread.

    ``peer`` is the process at the other end, known once the client is welcome; ``access`` is ``None`` until then.
    ``access_problem`` says why nobody knows whether the client is an admin, where that is so.
    ``running`` counts requests under way. ``in_order`` is held by methods that take effect in the order of their
    requests.
    """

    peer: PeerCredentials

    def __init__(self, owner: ConnectionOwner) -> None:
        limits = owner.limits
        self._owner = owner
        self._limits = limits
        self._decoder = jsonrpc.StrictDecoder(max_line=limits.max_line, max_depth=limits.max_depth)
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.access: Access | None = None
        self.access_problem: str | None = None
        self._idle_since = self._loop.time()
        self._user: str | None = None
        self._requests: deque[jsonrpc.Message] = deque()
        self.running = 0
        self._streams: dict[str, Stream] = {}
        self._lines: list[bytes] = []
        self._line_bytes = 0
        self._flush_soon: asyncio.Handle | None = None
        self._next_turn: asyncio.Handle | None = None
        self._line_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._unread = False
        self._ended = False
        self._closing = False
        self._process: PeerProcess | None = None
        self.in_order = asyncio.Lock()

    async def user(self) -> str:
        """The peer's user name, or the uid; looked up once."""
        if self._user is None:
            self._user = await self._owner.user_name(self.peer.uid)
        return self._user

    # Open and close.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the server; no request is served before the server calls :meth:`welcome`."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        transport.set_write_buffer_limits(high=self._limits.unsent // 4, low=self._limits.unsent // 16)
        self._owner.on_connected(self, transport)

    def hold(self, process: PeerProcess) -> None:
        """Keep the hold on the peer's process for as long as the connection lasts."""
        self._process = process

    def release(self) -> None:
        """Hold the peer's process no longer: its client may only read, and a hold costs a descriptor."""
        if self._process is not None:
            self._process.close()

    @property
    def peer_ended(self) -> bool:
        """Whether the process that was admitted has ended, and somebody else has the connection now.

        It can't have become an agent's since it was admitted: nothing becomes a descendant of another process later.
        """
        return self._process is not None and not self._process.alive

    def welcome(self, peer: PeerCredentials, access: Access, hello: dict[str, Any]) -> None:
        """Send the first line and serve the client's requests."""
        if self._transport is None or self._closing:
            return
        self.peer, self.access = peer, access
        self._queue(notification_line("hello", hello))
        if not self._ended:
            self._transport.resume_reading()
        self._serve()

    def refuse(self, error: WireError) -> None:
        """Send the error, and close."""
        self._queue(error_line(None, error))
        self.close()

    def make_room(self, error: WireError) -> None:
        """Refuse the client at once, without a wait for what it has not read."""
        self.refuse(error)
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._transport.abort()

    def close(self) -> None:
        """Serve no more; close once the client has read everything, at the latest after ``Limits.close_seconds``."""
        if self._transport is None or self._closing:
            return
        self._flush()
        self._closing = True
        self._requests.clear()
        self._stop_timers()
        self._transport.close()
        self._close_timer = self._loop.call_later(self._limits.close_seconds, self._transport.abort)

    def pause(self) -> None:
        """Accept no more requests; those that are under way go on."""
        self._requests.clear()
        self._stop_timers()
        if self._transport is not None and not self._closing:
            self._ended = True
            self._transport.pause_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        """End the client's streams; its requests that are under way go on without an answer."""
        self._transport = None
        self._closing = True
        self._requests.clear()
        self._lines.clear()
        self._stop_timers()
        for handle in (self._flush_soon, self._next_turn, self._close_timer):
            if handle is not None:
                handle.cancel()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            try:
                stream.close()
            except Exception:
                # A stream of any method, and the other streams must be closed too.
                log.exception("stream_not_closed")
        self.release()
        self._owner.on_closed(self)

    def _abort(self, reason: str) -> None:
        self._owner.seldom_log.warning("client_disconnected", uid=self.peer.uid, pid=self.peer.pid, reason=reason)
        self._closing = True
        self._requests.clear()
        if self._transport is not None:
            self._transport.abort()

    # Reading.

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return the buffer for the next bytes."""
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        """Decode the bytes; requests begin in the order in which they came."""
        if self._closing or self._ended:
            return
        data = bytes(self._buffer[:size])
        self._requests.extend(self._decoder.receive(data))
        self._time_line(restart=b"\n" in data)
        if self.access is None and self._transport is not None:
            # Not in connection_made: a transport of Python 3.11.2 (Debian 12) that is paused there reads all the same.
            self._transport.pause_reading()
        self._serve()

    def eof_received(self) -> bool:
        """The client sends no more: answer its requests, then close the connection."""
        if self._decoder.mid_line and not self._ended:
            reason = "cannot read an unfinished line: the sender closed before its newline"
            self._requests.append(jsonrpc.Malformed(jsonrpc.PARSE_ERROR, "invalid", reason))
        self._ended = True
        self._time_line(restart=True)
        self._serve()
        return not self._closing

    def _time_line(self, *, restart: bool) -> None:
        if self._line_timer is not None and restart:
            self._line_timer.cancel()
            self._line_timer = None
        if self._line_timer is None and self._decoder.mid_line and not self._ended:
            self._line_timer = self._loop.call_later(self._limits.line_seconds, self._on_line_timeout)

    def _on_line_timeout(self) -> None:
        seconds = f"{self._limits.line_seconds:g} s"
        self.refuse(TimedOut(f"cannot wait longer for the end of a line: it has to come within {seconds}"))

    # Serving.

    @property
    def idle_since(self) -> float | None:
        """When the last request was answered, or the client connected; ``None`` while a request or stream is open."""
        if self.running or (self._requests and self.access is not None):
            return None
        return None if any(not stream.closed for stream in self._streams.values()) else self._idle_since

    def _serve(self) -> None:
        """Begin the requests that wait, as far as the client reads its answers."""
        if self.access is None:
            return
        until = self._loop.time() + TURN_SECONDS
        while self._requests and not self._closing:
            if self._loop.time() > until:
                self._wait_for_turn()
                return
            if self._unsent > self._limits.unsent // 4:
                self._flush()
            if self._unread:
                self._wait_for_reader()
                return
            self._begin(self._requests.popleft())
        self._flush()
        if self._ended and not self.running:
            self.close()

    def _wait_for_turn(self) -> None:
        """Let others have their turn; until ours comes, nothing more is read from the client."""
        self._flush()
        if self._next_turn is None and self._transport is not None:
            self._transport.pause_reading()
            self._stop_timers()
            self._next_turn = self._loop.call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._next_turn = None
        self._serve()
        if not self._requests and self._stall_timer is None:
            self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and not self._closing and not self._ended:
            self._transport.resume_reading()
            self._time_line(restart=False)

    def _begin(self, message: jsonrpc.Message) -> None:
        if isinstance(message, jsonrpc.Malformed):
            self._queue(jsonrpc.encode_error(message.id, message.code, message.reason, message.kind))
            if message.fatal:
                self.close()
            return
        if not isinstance(message, jsonrpc.Request):
            raise TypeError(f"cannot answer a {type(message).__name__}")
        self._idle_since = self._loop.time()
        answer = self._owner.begin(self, message)
        if isinstance(answer, tuple):
            self._answer(answer)
        else:
            self.running += 1
            crashed = partial(self._abort, "its request has failed")
            self._owner.tasks.start(self._run(answer), name=message.method, on_crash=lambda _: crashed())

    async def _run(self, work: Coroutine[Any, Any, Answer]) -> None:
        try:
            answer = await work
        finally:
            self.running -= 1
            self._idle_since = self._loop.time()
        if not self._closing:
            self._answer(answer)
            self._serve()

    def _answer(self, answer: Answer) -> None:
        """Queue an answer, unless the client has left too much unread already."""
        if self._unsent > self._limits.unsent:
            self._flush()
        if self._unsent > self._limits.unsent:
            self._abort(f"it left {self._unsent} bytes unread")
            return
        self._queue(answer.line)
        for stream in answer.opened:
            stream.release()

    def _wait_for_reader(self) -> None:
        """Let requests wait until the client reads its answers: read no more from it, and abort it after a while."""
        if self._stall_timer is None and self._transport is not None:
            self._transport.pause_reading()
            self._stop_timers()
            self._stall_timer = self._loop.call_later(self._limits.stall_seconds, self._abort, "it reads no answers")

    # Writing.

    @property
    def _unsent(self) -> int:
        """Bytes that the kernel has not taken."""
        return self._line_bytes + (0 if self._transport is None else self._transport.get_write_buffer_size())

    def _queue(self, line: bytes) -> None:
        self._lines.append(line)
        self._line_bytes += len(line)

    def _flush(self) -> None:
        """Write the queued lines, as one piece."""
        if self._flush_soon is not None:
            self._flush_soon.cancel()
            self._flush_soon = None
        if not self._lines or self._transport is None or self._closing:
            return
        data = b"".join(self._lines)
        self._lines.clear()
        self._line_bytes = 0
        self._transport.write(data)
        if self._streams and not self._unread:
            self._catch_up()

    def pause_writing(self) -> None:
        """The buffers are full: the client does not read."""
        self._unread = True

    def resume_writing(self) -> None:
        """The client has read most of the buffers: go on with its streams and its requests."""
        self._unread = False
        self._catch_up()
        if self._stall_timer is not None and not self._closing:
            self._stop_timers()
            self._read_on()
            self._serve()

    def _stop_timers(self) -> None:
        for timer in (self._line_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._line_timer = self._stall_timer = None

    # Streams.

    @property
    def has_room(self) -> bool:
        """Whether a notification can be queued now. Part of :class:`acpbot.management.stream.Outlet`."""
        return self._unsent < self._limits.unsent // 2

    def post(self, line: bytes) -> None:
        """Queue a notification: those of one pass of the event loop go out as one piece."""
        if self._closing:
            return
        self._queue(line)
        if self._flush_soon is None:
            self._flush_soon = self._loop.call_soon(self._flush)

    def stream(
        self,
        key: str,
        method: str,
        snapshot: Callable[[], list[Event]],
        leave: Callable[[], None],
        missed: Callable[[Event], None] | None = None,
    ) -> Stream:
        """Open a stream of notifications, replacing one of the same ``key``. Raises TooMany.

        For the other parameters see :class:`acpbot.management.stream.Stream`.
        """
        self.end_stream(key)
        self._streams = {name: stream for name, stream in self._streams.items() if not stream.closed}
        most = self._limits.streams if self.access == "admin" else self._limits.reader_streams
        if len(self._streams) >= most:
            raise TooMany(f"cannot subscribe: this connection has {len(self._streams)} streams; open another one")
        stream = Stream(self, method, snapshot, leave, missed)
        if self._transport is None:
            stream.closed = True  # the client has gone meanwhile
        else:
            self._streams[key] = stream
        return stream

    def find_stream(self, key: str) -> Stream | None:
        """The open stream of that key."""
        stream = self._streams.get(key)
        return None if stream is None or stream.closed else stream

    def end_stream(self, key: str) -> None:
        """End a stream, if there is one."""
        stream = self._streams.pop(key, None)
        if stream is not None:
            stream.close()

    def _catch_up(self) -> None:
        for stream in tuple(self._streams.values()):
            if self.has_room:
                stream.catch_up()
