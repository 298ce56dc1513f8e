"""One client of the management socket: lines in, lines out, within limits. It is never waited for.

Three measures keep a client from costing more than its share:

- What it does not read is held up to ``Limits.unsent`` bytes. From a quarter of that its requests wait and nothing more
  is read from it; from a half its streams miss events (a snapshot follows); an answer beyond the whole cuts it.
- What it sends is read 16 KiB at a time, so that others have their turn in between.
- A line that is begun has to be ended in time, and answers that hold up requests have to be read in time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from acpbot import jsonrpc
from acpbot.errors import TimedOut, TooMany
from acpbot.logs import get_logger
from acpbot.management.access import user_name
from acpbot.management.protocol import error_line, notification_line
from acpbot.management.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any, Protocol

    from acpbot.errors import WireError
    from acpbot.management.access import Peer
    from acpbot.management.dispatch import Answer, Dispatcher
    from acpbot.management.protocol import Access, Limits
    from acpbot.management.stream import Event

    class Home(Protocol):
        """What a connection needs of its server."""

        limits: Limits
        dispatcher: Dispatcher

        def arrived(self, connection: Connection, transport: asyncio.Transport) -> None:
            """A client is there: welcome it, now or later, or turn it away."""

        def left(self, connection: Connection) -> None:
            """It is gone."""

        def spawn(self, work: Coroutine[Any, Any, None]) -> None:
            """Run a request beside the others."""


log = get_logger(__name__)

READ_SIZE: Final = 16 * 1024


class Connection(asyncio.BufferedProtocol):
    """A :class:`acpbot.management.method.Client`. All methods belong to the event loop's thread."""

    def __init__(self, home: Home) -> None:
        limits = home.limits
        self._home = home
        self._limits = limits
        self._decoder = jsonrpc.StrictDecoder(max_line=limits.max_line, max_depth=limits.max_depth)
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._peer: Peer | None = None
        self._access: Access | None = None
        self._user: str | None = None
        self._requests: deque[jsonrpc.Message] = deque()
        self._running = 0
        self._streams: dict[str, Stream] = {}
        self._lines: list[bytes] = []
        self._line_bytes = 0
        self._flush_soon: asyncio.Handle | None = None
        self._line_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._unread = False
        self._ended = False
        self._closing = False
        self.in_order = asyncio.Lock()

    # Who is there.

    @property
    def peer(self) -> Peer:
        """The process at the other end. Known once the client is welcome."""
        if self._peer is None:
            raise RuntimeError("a request came before its sender was known")
        return self._peer

    async def user(self) -> str:
        """The peer's user name, or the uid; looked up once, beside the event loop, since it may take its time."""
        if self._user is None:
            self._user = await asyncio.to_thread(user_name, self.peer.uid)
        return self._user

    # Life.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the client to the server; nothing is served before it is welcome."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        transport.set_write_buffer_limits(high=self._limits.unsent // 4, low=self._limits.unsent // 16)
        self._home.arrived(self, transport)

    def welcome(self, peer: Peer, access: Access, hello: dict[str, Any]) -> None:
        """Greet the client and serve it."""
        if self._transport is None or self._closing:
            return
        self._peer, self._access = peer, access
        self._queue(notification_line("hello", hello))
        if not self._ended:
            self._transport.resume_reading()
        self._serve()

    def turn_away(self, error: WireError) -> None:
        """Say why, and close."""
        self._queue(error_line(None, error))
        self.close()

    def close(self) -> None:
        """Serve no more; close once everything is read, and in any case in time."""
        if self._transport is None or self._closing:
            return
        self._flush()
        self._closing = True
        self._requests.clear()
        self._stop_timers()
        self._transport.close()
        self._close_timer = self._loop.call_later(self._limits.close_seconds, self._transport.abort)

    def pause(self) -> None:
        """Take no more requests; those that are under way go on."""
        self._requests.clear()
        self._stop_timers()
        if self._transport is not None and not self._closing:
            self._ended = True
            self._transport.pause_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        """The client is gone: end what it subscribed to; what it asked for goes on, unheard."""
        self._transport = None
        self._closing = True
        self._requests.clear()
        self._lines.clear()
        self._stop_timers()
        for handle in (self._flush_soon, self._close_timer):
            if handle is not None:
                handle.cancel()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            try:
                stream.close()
            except Exception:
                # The other streams are to be closed too.
                log.exception("stream_not_closed")
        self._home.left(self)

    def _cut(self, reason: str) -> None:
        log.warning("client_cut", uid=self.peer.uid, pid=self.peer.pid, reason=reason)
        self._closing = True
        self._requests.clear()
        if self._transport is not None:
            self._transport.abort()

    # Reading.

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        """Take bytes; requests are begun in the order in which they came."""
        if self._closing or self._ended:
            return
        data = bytes(self._buffer[:size])
        self._requests.extend(self._decoder.receive(data))
        self._time_line(restart=b"\n" in data)
        if self._access is None and self._transport is not None:
            # Not in connection_made: a transport of Python 3.11.2 (Debian 12) that is paused there reads all the same.
            self._transport.pause_reading()
        self._serve()

    def eof_received(self) -> bool:
        """The client has said all: what it asked for is answered, then the connection is closed."""
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
            self._line_timer = self._loop.call_later(self._limits.line_seconds, self._line_late)

    def _line_late(self) -> None:
        seconds = f"{self._limits.line_seconds:g} s"
        self.turn_away(TimedOut(f"cannot wait longer for the end of a line: it has to come within {seconds}"))

    # Serving.

    def _serve(self) -> None:
        """Begin what waits, as far as the client reads its answers."""
        if self._access is None:
            return
        while self._requests and not self._closing:
            if self._unsent > self._limits.unsent // 4:
                self._flush()
            if self._unread:
                self._hold()
                return
            self._begin(self._requests.popleft())
        self._flush()
        if self._ended and not self._running:
            self.close()

    def _begin(self, message: jsonrpc.Message) -> None:
        if isinstance(message, jsonrpc.Malformed):
            self._refuse(message)
            return
        if not isinstance(message, jsonrpc.Request) or self._access is None:
            raise TypeError(f"a {type(message).__name__} is no request of a known client")
        answer = self._home.dispatcher.begin(self, self._access, self._running, message)
        if isinstance(answer, tuple):
            self._answer(answer)
        else:
            self._running += 1
            self._home.spawn(self._run(answer))

    def _refuse(self, message: jsonrpc.Malformed) -> None:
        self._queue(jsonrpc.encode_error(message.id, message.code, message.reason, message.kind))
        if message.fatal:
            self.close()

    async def _run(self, work: Coroutine[Any, Any, Answer]) -> None:
        try:
            answer = await work
        finally:
            self._running -= 1
        if not self._closing:
            self._answer(answer)
            self._serve()

    def _answer(self, answer: Answer) -> None:
        """Queue an answer; only one more than the limit ever is."""
        if self._unsent > self._limits.unsent:
            self._flush()
        if self._unsent > self._limits.unsent:
            self._cut(f"it left {self._unsent} bytes unread")
            return
        self._queue(answer.line)
        for stream in answer.opened:
            stream.release()

    def _hold(self) -> None:
        """Requests wait until their answers have room: read no more meanwhile, and not for ever."""
        if self._stall_timer is None and self._transport is not None:
            self._transport.pause_reading()
            self._stop_timers()
            self._stall_timer = self._loop.call_later(self._limits.stall_seconds, self._cut, "it reads no answers")

    # Writing.

    @property
    def _unsent(self) -> int:
        """Bytes that the kernel has not taken."""
        return self._line_bytes + (0 if self._transport is None else self._transport.get_write_buffer_size())

    def _queue(self, line: bytes) -> None:
        self._lines.append(line)
        self._line_bytes += len(line)

    def _flush(self) -> None:
        """Hand what is queued to the kernel, as one piece."""
        if self._flush_soon is not None:
            self._flush_soon.cancel()
            self._flush_soon = None
        if not self._lines or self._transport is None or self._closing:
            return
        data = b"".join(self._lines)
        self._lines.clear()
        self._line_bytes = 0
        self._transport.write(data)
        if not self._unread:
            self._catch_up()

    def pause_writing(self) -> None:
        """The kernel takes no more for now: the client does not read."""
        self._unread = True

    def resume_writing(self) -> None:
        """The client has read most of what there was."""
        self._unread = False
        self._catch_up()
        if self._stall_timer is not None and self._transport is not None and not self._closing:
            self._stop_timers()
            if not self._ended:
                self._transport.resume_reading()
                self._time_line(restart=False)
            self._serve()

    def _stop_timers(self) -> None:
        for timer in (self._line_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._line_timer = self._stall_timer = None

    # Streams.

    @property
    def has_room(self) -> bool:
        """Whether a notification can be queued now."""
        return self._unsent < self._limits.unsent // 2

    def post(self, line: bytes) -> None:
        """Queue a notification: those of one turn of the event loop go out as one piece."""
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
        """Open a stream of notifications, replacing one of the same key. Raises TooMany."""
        self.end_stream(key)
        self._streams = {name: stream for name, stream in self._streams.items() if not stream.closed}
        if len(self._streams) >= self._limits.streams:
            raise TooMany(f"cannot subscribe: this connection has {len(self._streams)} streams; open another one")
        stream = Stream(self, method, snapshot, leave, missed)
        if self._transport is None:
            stream.closed = True  # the client went meanwhile: whoever opens it finds it closed
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
