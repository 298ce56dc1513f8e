"""The HTTP probes ``/livez``, ``/readyz``, ``/healthz``. They only read.

Import this module only where probes are enabled: it loads aiohttp.
Source for paths and bodies: https://kubernetes.io/docs/reference/using-api/health-checks/.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from acpbot.errors import StartError
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.readiness import Readiness

log = get_logger(__name__)

_METHODS: Final = ("GET", "HEAD")
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_HEADERS: Final = {
    "Server": "acpbot",  # no versions: they would help an attacker
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class ProbeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a client.

    ``head_bytes``: a request's line and headers. ``head_seconds``: how long a client may take to send them, and how
    long a connection may be idle between two requests. ``linger_seconds``: after its answer, how long a client's bytes
    are read and dropped, so that it can read the answer.
    """

    connections: int = 64
    head_bytes: int = 8192
    head_seconds: float = 5.0
    linger_seconds: float = 0.5


class Probes:
    """Serves what ``readiness`` returns. ``port`` 0 takes a free one; see :attr:`address`."""

    def __init__(
        self, readiness: Callable[[], Readiness], host: str, port: int, *, limits: ProbeLimits | None = None
    ) -> None:
        self.limits = limits or ProbeLimits()
        self._readiness = readiness
        self._host = host
        self._port = port
        self._web: _Web | None = None
        self._server: asyncio.Server | None = None
        self._paths = {"/livez": self._livez, "/readyz": self._readyz, "/healthz": self._healthz}

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port."""
        if self._server is None or not self._server.sockets:
            return (self._host, self._port)
        host, port, *_ = self._server.sockets[0].getsockname()
        return (host, port)

    async def start(self) -> None:
        """Serve. Raises StartError where the address can't be used."""
        self._web = _Web(self._answer, self.limits)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._web, self._host, self._port, reuse_address=True)
        except OSError as error:
            host = f"[{self._host}]" if ":" in self._host else self._host
            raise StartError(
                f"cannot serve probes at {host}:{self._port}: {error.strerror or error}; "
                "change [management.probes] bind, or set enabled = false"
            ) from None

    async def close(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.close()
        if self._web is not None:
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

    def _healthz(self, *, verbose: bool) -> web.Response:  # noqa: ARG002 - one of three that are called alike
        readiness = self._readiness()
        body = {
            "status": readiness.status,
            "uptime_seconds": readiness.uptime_seconds,
            "chat_connected": readiness.chat_connected,
        }
        return web.Response(text=json.dumps(body), content_type="application/json", headers=_HEADERS)


def _text(status: HTTPStatus, text: str | None = None) -> web.Response:
    return web.Response(status=status, text=status.phrase.lower() if text is None else text, headers=_HEADERS)


class _Web(web.Server):
    """aiohttp's low-level server, with our connections: no routes, no middleware, no access log."""

    def __init__(self, answer: Callable[[web.BaseRequest], Any], limits: ProbeLimits) -> None:
        super().__init__(answer)
        self.limits = limits
        self.open = 0

    def __call__(self) -> _Connection:
        return _Connection(self, self.limits)


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
        self._head = b""
        self._busy = False
        self._last = False
        self._refused = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._web.open += 1
        if self._web.open > self._limits.connections:
            self._refused = True
            transport.close()
            return
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._web.open -= 1
        self._stop_timer()
        super().connection_lost(exc)

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
        self._stop_timer()
        self._timer = self._events.call_later(self._limits.head_seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        if self._head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.force_close()

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
