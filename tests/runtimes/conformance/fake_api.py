"""What is between a runtime and its cluster: it hangs or refuses when told to, and passes everything on else.

Streams into pods that are open go on meanwhile, as a balancer leaves them; calls of the API do not. It runs in a thread
of its own, so that a test may block.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.runtimes.conformance.places import Place
    from tests.runtimes.conformance.scene import Agent

_BYTES = 64 * 1024
_LIMIT = 10.0


@dataclass(eq=False)
class _Connection:
    """``head``: the first bytes of its first request."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    head: bytes

    @property
    def is_stream(self) -> bool:
        return b"websocket" in self.head.lower()


class FakeApi:
    """The address that `place` has; `real` is the place without it."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.real = place
        config = yaml.safe_load(Path(place.environ["KUBECONFIG"]).read_text())
        cluster = config["clusters"][0]["cluster"]
        self._server = urlsplit(cluster["server"])
        self._mode = "answer"
        self._open: set[_Connection] = set()
        self._port: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        port = self._port.result(_LIMIT)
        cluster["server"] = f"http://127.0.0.1:{port}"
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        self.place = replace(place, environ={**place.environ, "KUBECONFIG": str(path)})

    def answer(self) -> None:
        """Pass everything on; what was held first."""
        self._call(lambda: self._set("answer"))

    def become(self, mode: str) -> None:
        """``hang``: take requests and answer none; ``refuse``: cut each connection at once."""
        self._call(lambda: self._set(mode))

    def cut(self, agent: Agent) -> None:
        """Cut the stream of an agent, and nothing else."""
        begin = f"/pods/acpbot-{agent.word}/exec?".encode()
        found = [one for one in self._open if begin in one.head and b"stdin=true" in one.head]
        assert found
        self._call(lambda: self._cut(found))

    def close(self) -> None:
        """Cut everything, and end."""
        self._call(self._stopped.set)
        self._thread.join(_LIMIT)

    def _call(self, work: Callable[[], None]) -> None:
        async def called() -> None:
            work()

        asyncio.run_coroutine_threadsafe(called(), self._loop).result(_LIMIT)

    def _set(self, mode: str) -> None:
        self._mode = mode
        if mode == "answer":
            self._answers.set()
            return
        self._answers.clear()
        self._cut(one for one in self._open if not one.is_stream)

    def _cut(self, connections: Iterable[_Connection]) -> None:
        for one in list(connections):
            for writer in (one.client, one.server):
                writer.transport.abort()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._answers, self._stopped = asyncio.Event(), asyncio.Event()
        self._answers.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_BYTES)
        self._port.set_result(server.sockets[0].getsockname()[1])
        await self._stopped.wait()
        server.close()
        self._cut(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            head = await reader.read(_BYTES)
            if self._mode == "refuse":
                writer.transport.abort()
                return
            await self._answers.wait()
            server_reader, server = await asyncio.open_connection(self._server.hostname, self._server.port)
            connection = _Connection(writer, server, head)
            self._open.add(connection)
            server.write(head)
            try:
                await asyncio.gather(_pass_on(reader, server), _pass_on(server_reader, writer))
            finally:
                self._open.discard(connection)
                self._cut([connection])


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()
