"""A management server on a real socket with a fake pool, and a client that sees every byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any

from acpbot.daemon import health
from acpbot.management.access import AccessRule
from acpbot.management.audit import Audit
from acpbot.management.listener import Listener
from acpbot.management.method import Services
from acpbot.management.protocol import Limits
from acpbot.management.server import ManagementServer
from acpbot.sessions.events import EventLog
from acpbot.storage.store import Store
from tests.fakes.pool import FakeDrain, FakeHub, FakeOperator, FakePool, FakeReload, make_health_inputs, make_row

if TYPE_CHECKING:
    from pathlib import Path

    from acpbot.management.readiness import DaemonState

LIMIT = 10
THREAD = "1417221234567890123"
AGREED = object()
CONFIG = {"default_agent": "default", "agent": {"command": "codex-acp"}, "pool": {"max_sessions": 10}}


class Harness:
    """The server, and the fakes that it serves."""

    def __init__(
        self, folder: Path, limits: Limits | None = None, *, rule: AccessRule | None = None, **services: Any
    ) -> None:
        self.path = folder / "run" / "acpbot.sock"
        self.pool = FakePool(make_row(THREAD))
        self.hub = FakeHub()
        self.operator = FakeOperator(self.pool)
        self.events = EventLog(Store(), lambda: 1_795_000_000.0)
        self.drain = FakeDrain()
        self.reload = FakeReload()
        self.state: DaemonState = "running"
        self.limits = limits or Limits()
        members: dict[str, Any] = {
            "audit": Audit(Store()),
            "chat": self.hub,
            "operator": self.operator,
            "events": self.events,
            "drain": self.drain.drain,
            "reload": self.reload.now,
            "config": lambda: {"path": "/etc/acpbot/config.toml", "config": CONFIG},
            "health": lambda: health.report(make_health_inputs()),
        }
        self.services = Services(
            version="0.1.0",
            state=lambda: self.state,
            rule=rule or AccessRule(),
            pool=self.pool,
            **members | services,
        )
        self.server = ManagementServer(self.services, self.limits)
        self.listener = Listener(self.path)
        self.clients: list[Client] = []

    async def start(self) -> None:
        await self.server.start(self.listener.open())

    async def stop(self) -> None:
        self.pool.free.set()
        self.hub.may_open.set()
        for client in self.clients:
            await client.close()
        await self.server.close()
        self.listener.close()

    async def client(self, *, hello: bool = True) -> Client:
        client = Client(*await asyncio.open_unix_connection(str(self.path), limit=2**24))
        self.clients.append(client)
        if hello:
            client.hello = await client.read()
        return client


class Client:
    """Lines out, lines in; notifications that come before an answer are kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.hello: dict = {}
        self.kept: list[dict] = []
        self.last = 0

    async def read(self) -> dict:
        """The next line; an AssertionError where the server has closed."""
        line = await asyncio.wait_for(self.reader.readline(), LIMIT)
        assert line.endswith(b"\n"), f"the server closed: {line!r}"
        return json.loads(line)

    async def read_many(self, count: int) -> list[dict]:
        """So many lines, in one wait."""

        async def lines() -> list[bytes]:
            return [await self.reader.readline() for _ in range(count)]

        return [json.loads(line) for line in await asyncio.wait_for(lines(), LIMIT)]

    async def closed(self) -> bool:
        """Whether nothing but the end comes."""
        try:
            return await asyncio.wait_for(self.reader.read(), LIMIT) == b""
        except ConnectionResetError:
            return True

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, method: str, params: dict | None = None, request_id: Any = AGREED) -> Any:
        self.last += 1
        request_id = self.last if request_id is AGREED else request_id
        request = {"jsonrpc": "2.0", "id": request_id, "method": method}
        if params is not None:
            request["params"] = params
        self.write(json.dumps(request).encode() + b"\n")
        return request_id

    async def answer(self, request_id: Any) -> dict:
        while True:
            message = await self.read()
            if "method" in message:
                self.kept.append(message)
            elif message["id"] == request_id:
                return message

    async def call(self, method: str, **params: Any) -> Any:
        answer = await self.answer(self.send(method, params))
        assert "result" in answer, answer
        return answer["result"]

    async def refused(self, method: str, **params: Any) -> dict:
        answer = await self.answer(self.send(method, params))
        assert "error" in answer, answer
        return answer["error"]

    async def notified(self) -> dict:
        """The next notification's params."""
        message = self.kept.pop(0) if self.kept else await self.read()
        assert "id" not in message, message
        return message["params"]

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # the server had closed before
            await asyncio.wait_for(self.writer.wait_closed(), LIMIT)


class AuditLog(logging.Handler):
    """The fields of each line of the audit."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.__dict__["fields"])

    def outcomes(self) -> list[tuple[str, str, str]]:
        return [(line["method"], line["target"], line["outcome"]) for line in self.lines]
