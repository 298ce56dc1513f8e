"""One program in a pod, or one attach, over a WebSocket: stdin, stdout, stderr, and the status at the end.

Nothing here is unbounded: what the program does not read is refused beyond 8 MiB, and while reading is paused the
connection is not read, so that the program blocks. A ping every 20 s keeps balancers from cutting an idle connection.
Source of the protocol: `acpbot.runtimes.kubernetes.channels`, RFC 6455.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp

from acpbot.aio import TaskSet
from acpbot.errors import AgentGone
from acpbot.logs import get_logger
from acpbot.runtimes.kubernetes import channels
from acpbot.runtimes.kubernetes.unanswered import Unanswered
from acpbot.runtimes.pipes import MAX_BACKLOG, check_backlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.runtimes.kubernetes.channels import ExecStatus
    from acpbot.runtimes.kubernetes.pod_ref import ExecTarget

log = get_logger(__name__)

PING_SECONDS: Final = 20.0
"""Balancers cut what is idle for 60 s."""

OPEN_SECONDS: Final = 15.0
_MESSAGE_BYTES: Final = 64 * 1024
_MISSING_PONGS: Final = 3
_MISSING_PONGS_MOST: Final = 15
_CLOSE_SECONDS: Final = 1.0
_COUNT_DIGITS: Final = 20
_STDOUT: Final = bytes((channels.STDOUT,))
_STDERR: Final = bytes((channels.STDERR,))
_STATUS: Final = bytes((channels.STATUS,))
_CUT: Final = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR)


class StreamRefused(Unanswered):
    """The cluster has answered, and has opened no stream. ``status``: of HTTP, such as 404 where there is no pod."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the cluster has refused the connection to the pod ({status})")
        self.status = status


class StreamUnreachable(Unanswered):
    """The cluster could not be reached, or did not answer in time."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the cluster can't be reached: {reason}")


class Receiver(Protocol):
    """Gets what comes from a program. Its methods are called on the event loop, and neither block nor raise."""

    def stdout_received(self, data: bytes, /) -> None:
        """Receive a chunk of stdout."""

    def stderr_received(self, data: bytes, /) -> None:
        """Receive a chunk of stderr."""

    def stream_ended(self, status: ExecStatus | None, /) -> None:
        """The stream is over, after all that came before; ``None``: it was cut, and nobody can tell how it ended.

        Called once, unless the stream is closed first.
        """


class ExecStream:
    """An open stream; made by `open_stream`. ``serves_eof``: its server can end stdin alone."""

    always_reads = False

    def __init__(
        self,
        session: aiohttp.ClientSession,
        ws: aiohttp.ClientWebSocketResponse,
        receiver: Receiver,
        ping_seconds: float,
    ) -> None:
        self.serves_eof = ws.protocol == channels.V5
        self.backlog = 0
        """Bytes queued that were not sent yet."""
        self.answers_pings = False
        """Whether a ping was ever answered."""
        self._session = session
        self._ws = ws
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._queue = bytearray()
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = self._over = False
        self._on_unserved_eof: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered = 0
        self._sent = self._taken = 0
        self._tasks = TaskSet("exec-stream")
        self._tasks.start(self._read(), name="read", on_crash=self._crashed)
        self._tasks.start(self._send(), name="send", on_crash=self._crashed)
        self._tasks.start(self._ping(ping_seconds), name="ping", on_crash=self._crashed)

    def write(self, data: bytes) -> None:
        """Queue ``data`` for stdin. Raises `AgentGone` where stdin is closed, `AgentTimeout` where too much waits."""
        if self._over or self._closing:
            raise AgentGone("cannot write to the agent: its stdin is closed; start a new session")
        check_backlog(self.backlog, len(data), MAX_BACKLOG)
        self._queue += data
        self.backlog = len(self._queue)
        self._wake.set()

    def close_stdin(self, flush_seconds: float, on_unserved: Callable[[], object]) -> None:
        """End stdin after what is queued; what was not sent within ``flush_seconds`` is dropped.

        ``on_unserved`` is called instead where the server can't end stdin alone (before Kubernetes 1.30).
        """
        if self._closing or self._over:
            return
        self._closing = True
        self._on_unserved_eof = on_unserved
        if flush_seconds <= 0:
            self._drop()
        elif self._queue:
            self._timer = self._loop.call_later(flush_seconds, self._drop)
        self._wake.set()

    def pause(self) -> None:
        """Leave in the connection what comes."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._unanswered = 0
        self._reading.set()

    async def aclose(self) -> None:
        """Give the connection up; the program goes on, without stdin. May be called again."""
        self._finish()
        with contextlib.suppress(TimeoutError):  # a peer that is gone closes nothing
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._ws.close()
        await self._tasks.cancel()
        await self._session.close()

    def _finish(self) -> bool:
        """Note the end; whether it is news."""
        is_news = not self._over
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._drop()
        return is_news

    def _drop(self) -> None:
        self._queue.clear()
        self.backlog = 0

    def _crashed(self, _: BaseException) -> None:
        self._end(None)

    def _end(self, status: ExecStatus | None) -> None:
        if self._finish():
            self._receiver.stream_ended(status)

    async def _read(self) -> None:
        receive, reading = self._ws.receive, self._reading
        while not self._over:
            message = await receive()
            self._unanswered = 0
            if not reading.is_set():
                await reading.wait()
            if message.type is aiohttp.WSMsgType.BINARY:
                self._take(message.data)
            elif message.type is aiohttp.WSMsgType.PING:
                await self._ws.pong(message.data)
            elif message.type is aiohttp.WSMsgType.PONG:
                self.answers_pings = True
                if message.data.isdigit() and len(message.data) < _COUNT_DIGITS:
                    self._taken = int(message.data)
            elif message.type in _CUT:
                self._end(None)

    def _take(self, message: bytes) -> None:
        channel, data = message[:1], message[1:]
        if not data:
            return  # it says that all is ready
        if channel == _STDOUT:
            self._receiver.stdout_received(data)
        elif channel == _STDERR:
            self._receiver.stderr_received(data)
        elif channel == _STATUS:
            self._end(channels.read_status(data))

    async def _send(self) -> None:
        try:
            while True:
                while self._queue:
                    with memoryview(self._queue) as view:
                        message = channels.stdin_message(view[:_MESSAGE_BYTES])
                    del self._queue[: len(message) - 1]
                    self.backlog = len(self._queue)
                    self._sent += len(message)
                    await self._ws.send_bytes(message)
                if self._closing:
                    break
                self._wake.clear()
                await self._wake.wait()
            if self._timer is not None:
                self._timer.cancel()
            if self.serves_eof:
                await self._ws.send_bytes(channels.CLOSE_STDIN)
            elif self._on_unserved_eof is not None and not self._over:
                self._on_unserved_eof()
        except (ConnectionError, aiohttp.ClientError) as error:
            log.debug("exec_stream_not_writable", reason=str(error))  # the reader sees the end

    async def _ping(self, seconds: float) -> None:
        """Keep the connection in use. No answer is the end only where the peer has answered before and is not held up.

        A peer that waits for the program to read its stdin reads no ping either. A ping carries how much was sent
        before it, and so does its answer: where nothing was sent since, the peer waits for nothing. Else it is given
        five times as long.
        """
        while not self._over:
            await asyncio.sleep(seconds)
            is_idle = self.always_reads or (self._taken == self._sent and not self._queue)
            most = _MISSING_PONGS if is_idle else _MISSING_PONGS_MOST
            if self.answers_pings and self._unanswered >= most and self._reading.is_set():
                log.warning("exec_stream_silent", pings=self._unanswered)
                self._end(None)
                return
            self._unanswered += 1
            try:
                await self._ws.ping(str(self._sent).encode())
            except (ConnectionError, aiohttp.ClientError):
                return  # the reader sees the end


class BeatStream(ExecStream):
    """A stream whose program always reads its stdin, so that a peer that answers no ping any more is gone."""

    always_reads = True


async def open_stream(
    target: ExecTarget,
    receiver: Receiver,
    kind: type[ExecStream] = ExecStream,
    *,
    ping_seconds: float = PING_SECONDS,
) -> ExecStream:
    """Open a stream; cancelled, it leaves none. Raises `StreamRefused` and `StreamUnreachable`."""
    # A session of its own: the streams of others neither wait for it nor end with it.
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            ws = await session.ws_connect(
                target.url,
                headers=target.headers,
                ssl=True if target.ssl is None else target.ssl,
                protocols=channels.PROTOCOLS,
                autoping=False,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            )
    except aiohttp.WSServerHandshakeError as error:
        await session.close()
        raise StreamRefused(error.status) from error
    except (OSError, aiohttp.ClientError) as error:
        await session.close()
        reason = "it does not answer" if isinstance(error, TimeoutError) else str(error)
        raise StreamUnreachable(reason) from error
    except BaseException:
        # Broad: also where it is cancelled, no connection stays.
        await session.close()
        raise
    return kind(session, ws, receiver, ping_seconds)
