"""The TCP shim: ``/livez``, ``/readyz``, ``/healthz`` for probes. It can be read, and does nothing else.

Every connection serves one request and is closed: nothing here can be held open. Source for paths and answers:
https://kubernetes.io/docs/reference/using-api/health-checks/.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from aiohttp import web

from acpbot import health
from acpbot.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.health import Facts

MAX_HEAD: Final = 8192
MAX_CONNECTIONS: Final = 64
CONNECTION_SECONDS: Final = 5.0
_METHODS: Final = ("GET", "HEAD")


class Probes:
    """Serves the verdicts on the facts of ``facts``. ``port`` 0 takes a free one; see :attr:`address`."""

    def __init__(
        self,
        facts: Callable[[], Facts],
        host: str,
        port: int,
        *,
        connection_seconds: float = CONNECTION_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._facts = facts
        self._host = host
        self._port = port
        self._seconds = connection_seconds
        self._max_connections = max_connections
        self._open = 0
        self._web: web.Server | None = None
        self._server: asyncio.Server | None = None
        self._paths = {"/livez": self._livez, "/readyz": self._readyz, "/healthz": self._healthz}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are served."""
        if self._server is None:
            return (self._host, self._port)
        host, port, *_ = self._server.sockets[0].getsockname()
        return (host, port)

    async def start(self) -> None:
        """Serve. Raises StartError where the address can't be had."""
        loop = asyncio.get_running_loop()
        self._web = web.Server(
            self._answer,
            access_log=None,
            max_line_size=MAX_HEAD,
            max_field_size=MAX_HEAD,
            keepalive_timeout=0,
            lingering_time=0,
        )
        try:
            self._server = await loop.create_server(self._connection, self._host, self._port, reuse_address=True)
        except OSError as error:
            raise StartError(
                f"cannot serve probes on {self._host}:{self._port}: {error.strerror or error}; "
                "change [management.probes] bind, or set enabled = false"
            ) from None

    async def close(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.close()
        if self._web is not None:
            await self._web.shutdown(0)

    def _connection(self) -> asyncio.BaseProtocol:
        if self._web is None or self._open >= self._max_connections:
            return _Refusal()
        self._open += 1
        return _Bounded(self._web(), self._seconds, self._gone)

    def _gone(self) -> None:
        self._open -= 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        response = self._response(request)
        response.headers["Server"] = "acpbot"
        response.headers["Cache-Control"] = "no-store"
        response.force_close()
        return response

    def _response(self, request: web.BaseRequest) -> web.Response:
        head = len(request.raw_path) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
        if head > MAX_HEAD:
            return web.Response(status=431, text="request head too large")
        answer = self._paths.get(request.path)
        if answer is None:
            return web.Response(status=404, text="not found")
        if request.method not in _METHODS:
            return web.Response(status=405, text="method not allowed", headers={"Allow": ", ".join(_METHODS)})
        return answer("verbose" in request.query)

    def _livez(self, verbose: bool) -> web.Response:  # noqa: FBT001 - one of three that are called alike
        return web.Response(text="[+]loop ok\nlivez check passed\n" if verbose else "ok")

    def _readyz(self, verbose: bool) -> web.Response:  # noqa: FBT001 - as above
        verdicts = health.checks(self._facts())
        fine = all(check.ok for check in verdicts)
        if fine and not verbose:
            return web.Response(text="ok")
        lines = [
            f"[+]{check.name} ok" if check.ok else f"[-]{check.name} failed: reason withheld" for check in verdicts
        ]
        lines.append(f"readyz check {'passed' if fine else 'failed'}\n")
        return web.Response(status=200 if fine else 503, text="\n".join(lines))

    def _healthz(self, _verbose: bool) -> web.Response:  # noqa: FBT001 - as above
        facts = self._facts()
        body = {
            "status": "ok" if health.ready(facts) else "not_ready",
            "uptime_seconds": round(facts.uptime_seconds, 3),
            "chat_connected": health.chat_connected(facts),
        }
        return web.Response(text=json.dumps(body), content_type="application/json")


class _Refusal(asyncio.Protocol):
    """Closes at once: all places are taken."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _Bounded(asyncio.Protocol):
    """Passes everything on to aiohttp's protocol, for a bounded time and a bounded number of bytes before an answer."""

    def __init__(self, inner: asyncio.Protocol, seconds: float, gone: Callable[[], None]) -> None:
        self._inner = inner
        self._seconds = seconds
        self._gone = gone
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        loop = asyncio.get_running_loop()
        abort = getattr(transport, "abort", transport.close)
        self._timer = loop.call_later(self._seconds, abort)
        self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._gone()
        self._inner.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        # One request is answered and its body never read: what comes beyond a head is dropped.
        room = max(0, 2 * MAX_HEAD - self._received)
        self._received += len(data)
        if room:
            self._inner.data_received(data[:room])

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()
