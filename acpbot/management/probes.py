"""The HTTP probes ``/livez``, ``/readyz``, ``/healthz``, and ``/metrics``. They only read.

Import this module only where probes are enabled: it loads aiohttp.
Source for paths and bodies: https://kubernetes.io/docs/reference/using-api/health-checks/.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import re
import socket
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from acpbot.errors import StartError
from acpbot.logs import get_logger
from acpbot.management.acceptor import Acceptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.readiness import Readiness

log = get_logger(__name__)

_METHODS: Final = ("GET", "HEAD")
_BACKLOG: Final = 1024
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_HEADERS: Final = {
    "Server": "acpbot",  # no versions: they would help an attacker
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class ProbeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a client.

    ``connections``: beyond so many, the oldest one that has not sent a whole request makes room, but not before it was
    silent for ``kept_seconds``. ``head_bytes``: a request's line and headers. ``head_seconds``: how long a client may
    take to send them, and how long a connection may be idle between two requests. ``linger_seconds``: after its answer,
    how long a client's bytes are read and dropped, so that it can read the answer.
    """

    connections: int = 64
    kept_seconds: float = 0.05
    head_bytes: int = 8192
    head_seconds: float = 5.0
    linger_seconds: float = 0.5


class Probes:
    """Serves what ``readiness`` returns. ``port`` 0 takes a free one; see :attr:`address`.

    ``metrics`` makes the page of ``/metrics``: its bytes and its content type. Without it there is no such page.
    """

    def __init__(
        self,
        readiness: Callable[[], Readiness],
        host: str,
        port: int,
        *,
        limits: ProbeLimits | None = None,
        metrics: Callable[[], tuple[bytes, str]] | None = None,
    ) -> None:
        self.limits = limits or ProbeLimits()
        self._readiness = readiness
        self._host = host
        self._port = port
        self._web: _Web | None = None
        self._listening: list[socket.socket] = []
        self._paths = {"/livez": self._livez, "/readyz": self._readyz, "/healthz": self._healthz}
        if metrics is not None:
            self._paths["/metrics"] = partial(self._metrics, metrics)

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port."""
        if not self._listening:
            return (self._host, self._port)
        host, port, *_ = self._listening[0].getsockname()
        return (host, port)

    async def start(self) -> None:
        """Serve. Raises StartError where the address can't be used."""
        web_ = self._web = _Web(self._answer, self.limits)
        try:
            self._listening = await _listen(self._host, self._port)
        except OSError as error:
            host = f"[{self._host}]" if ":" in self._host else self._host
            raise StartError(
                f"cannot serve probes at {host}:{self._port}: {error.strerror or error}; "
                "change [management.probes] bind, or set enabled = false"
            ) from None
        web_.acceptors = [
            Acceptor(listening, web_, name="probes", wait=web_.seconds_until_room) for listening in self._listening
        ]

    async def close(self) -> None:
        """Serve no more."""
        self._listening.clear()
        if self._web is not None:
            for acceptor in self._web.acceptors:
                acceptor.close()
            self._web.pre_shutdown()
            await self._web.shutdown(self.limits.linger_seconds)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = self._response(request)
        except Exception:
            # Any defect becomes a 500; the reason stays in the log, away from outsiders.
            log.exception("probe_failed")
            response = _text(HTTPStatus.INTERNAL_SERVER_ERROR)
        connection = request.protocol
        if request.body_exists or not isinstance(connection, _Connection) or connection.answered():
            response.force_close()
        return response

    def _response(self, request: web.BaseRequest) -> web.Response:
        if request.method not in _METHODS:
            response = _text(HTTPStatus.METHOD_NOT_ALLOWED)
            response.headers["Allow"] = ", ".join(_METHODS)
            return response
        answer = self._paths.get(request.path)
        if answer is None:
            return _text(HTTPStatus.NOT_FOUND)
        return answer(verbose="verbose" in request.query)

    def _livez(self, *, verbose: bool) -> web.Response:
        """The event loop answers, and nothing else is checked."""
        return _text(HTTPStatus.OK, "[+]loop ok\nlivez check passed\n" if verbose else "ok")

    def _readyz(self, *, verbose: bool) -> web.Response:
        readiness = self._readiness()
        if readiness.ready and not verbose:
            return _text(HTTPStatus.OK, "ok")
        lines = [
            f"[+]{check.name} ok" if check.ok else f"[-]{check.name} failed: reason withheld"
            for check in readiness.checks
        ]
        lines.append(f"readyz check {'passed' if readiness.ready else 'failed'}\n")
        return _text(HTTPStatus.OK if readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(lines))

    def _healthz(self, *, verbose: bool) -> web.Response:  # noqa: ARG002 - one of those that are called alike
        readiness = self._readiness()
        body = {
            "status": readiness.status,
            "uptime_seconds": readiness.uptime_seconds,
            "chat_connected": readiness.chat_connected,
        }
        return web.Response(text=json.dumps(body), content_type="application/json", headers=_HEADERS)

    @staticmethod
    def _metrics(metrics: Callable[[], tuple[bytes, str]], *, verbose: bool) -> web.Response:  # noqa: ARG004 - the same
        body, content_type = metrics()
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": content_type})


def _text(status: HTTPStatus, text: str | None = None) -> web.Response:
    return web.Response(status=status, text=status.phrase.lower() if text is None else text, headers=_HEADERS)


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Listen at each address of the host. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[socket.socket] = []
    failed: OSError | None = None
    for family, _type, _protocol, _name, address in dict.fromkeys(found):
        try:
            listening.append(_listen_at(family, address))
        except OSError as error:
            failed = error
            if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:  # a host may have no IPv6
                break
    if failed is not None and (not listening or failed.errno == errno.EADDRINUSE):
        for opened in listening:
            opened.close()
        raise failed
    return listening


def _listen_at(family: int, address: Any) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


class _Web(web.Server):
    """aiohttp's low-level server, with our connections: no routes, no middleware, no access log.

    ``silent`` are the connections that wait for a head, and ``answering`` the others; those that have waited longest
    come first.
    """

    def __init__(self, answer: Callable[[web.BaseRequest], Any], limits: ProbeLimits) -> None:
        super().__init__(answer)
        self.limits = limits
        self.acceptors: list[Acceptor] = []
        self.silent: dict[_Connection, None] = {}
        self.answering: dict[_Connection, None] = {}

    def __call__(self) -> _Connection:
        return _Connection(self, self.limits)

    def make_room(self) -> None:
        """Drop the oldest silent connection where there are too many, else the one that takes its answer slowest."""
        short = any(acceptor.short for acceptor in self.acceptors)
        if short or len(self.silent) + len(self.answering) >= self.limits.connections:
            for oldest in (*self.silent, *self.answering)[:1]:
                self.forget(oldest)
                oldest.drop()

    def seconds_until_room(self) -> float:
        """How long the next client has to wait, so that each one has a moment to send its request."""
        if len(self.silent) + len(self.answering) < self.limits.connections or not self.silent:
            return 0.0
        oldest = next(iter(self.silent))
        return oldest.silent_since + self.limits.kept_seconds - asyncio.get_running_loop().time()

    def forget(self, connection: _Connection) -> None:
        """Count a connection no more."""
        self.silent.pop(connection, None)
        self.answering.pop(connection, None)

    def refill(self) -> None:
        """Reserve descriptors again, now that a connection has closed."""
        for acceptor in self.acceptors:
            acceptor.refill()


class _Connection(web.RequestHandler):
    """Passes whole heads to aiohttp's protocol, one at a time, and drops everything else that a client sends."""

    def __init__(self, server: _Web, limits: ProbeLimits) -> None:
        self._events = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=self._events,
            access_log=None,  # type: ignore[arg-type]  # its documentation offers None
            max_line_size=limits.head_bytes,
            max_field_size=limits.head_bytes,
            keepalive_timeout=2 * limits.head_seconds,  # ours is shorter, and knows of slow heads
            lingering_time=limits.linger_seconds,
        )
        self._web = server
        self._limits = limits
        self.silent_since = self._events.time()
        self._head = b""
        self._busy = False
        self._last = False
        self._refused = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._web.make_room()
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._web.forget(self)
        self._stop_timer()
        super().connection_lost(exc)
        if any(acceptor.short for acceptor in self._web.acceptors):
            self._events.call_soon(self._web.refill)  # in the next pass: this one still has the descriptor

    def drop(self) -> None:
        """Close at once, whatever the client has not sent or not read yet."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if not data:
            super().data_received(data)  # aiohttp calls this itself to read on
        elif self._busy:
            self._last = True  # a body or an early request: drop it, and close after this answer
        else:
            self._add(data)

    def _add(self, data: bytes) -> None:
        head = (self._head + data).lstrip(b"\r\n")  # RFC 9112, 2.2: empty lines before a request are ignored
        end = _END_OF_HEAD.search(head)
        if (len(head) if end is None else end.end()) > self._limits.head_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif end is None:
            self._head = head
        else:
            self._head = b""
            self._busy = True
            self._web.forget(self)
            self._web.answering[self] = None
            self._last = end.end() < len(head)
            super().data_received(head[: end.end()])

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's contract: true keeps it open
        """A client that sends no more still gets its answer."""
        self._last = True
        return self._busy

    def answered(self) -> bool:
        """Note that the request is answered; returns whether the connection must close after it."""
        self._busy = False
        if not self._last:
            self._expect_head()
        return self._last

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it shows details of the parser
    ) -> web.StreamResponse:
        """Answer a malformed head: aiohttp would log a traceback, and send its version."""
        log.debug("probe_bad_request", status=status, reason=type(exc).__name__)
        response = _text(HTTPStatus(status))
        response.force_close()
        return response

    def _expect_head(self) -> None:
        """Wait for a head and its answer: a head that aiohttp makes no request of must not stay for ever."""
        self._web.forget(self)
        self._web.silent[self] = None
        self.silent_since = self._events.time()
        self._stop_timer()
        self._timer = self._events.call_later(self._limits.head_seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        if self._head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.drop()  # not a close, which would wait until the client has read everything

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer without aiohttp, and close; bytes that still come are dropped, so that the answer arrives."""
        self._refused = True
        self._stop_timer()
        transport = self.transport
        if isinstance(transport, asyncio.Transport):
            body = status.phrase.lower()
            headers = {**_HEADERS, "Content-Type": "text/plain", "Content-Length": len(body), "Connection": "close"}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            transport.write(f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n{body}".encode())
            with contextlib.suppress(OSError):  # the client has gone already
                transport.write_eof()
            self._timer = self._events.call_later(self._limits.linger_seconds, transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
