"""`sessions.list` of 100 rows over the socket against a bare asyncio + json echo of the same bytes."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.rows import Result, Size

SESSIONS = 100
CALLS = 400


def echo(path: str, answer: bytes) -> None:
    """A server that parses each line and answers with the same document, encoded anew each time."""
    document = json.loads(answer)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            json.loads(line)
            writer.write(json.dumps(document).encode() + b"\n")
            await writer.drain()

    async def run() -> None:
        server = await asyncio.start_unix_server(serve, path)
        async with server:
            await server.serve_forever()

    asyncio.run(run())


def ask(lines, connection: socket.socket) -> tuple[float, bytes]:
    """Return the microseconds of one call, and its answer."""
    started = time.perf_counter()
    connection.sendall(b'{"jsonrpc":"2.0","id":1,"method":"sessions.list","params":{}}\n')
    answer = lines.readline()
    return (time.perf_counter() - started) * 1e6, answer


def results(size: Size) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = DEMO_AGENT + f"[pool]\nmax_sessions = {SESSIONS}\n"
        with DaemonProcess(folder / "d", config) as daemon, daemon.wire() as wire, daemon.wire() as asker:
            for number in range(SESSIONS):
                wire.call("chat.open", thread=f"t{number}")
                wire.call("chat.leave", thread=f"t{number}")
            while any(row["state"] == "starting" for row in asker.call("sessions.list")["sessions"]):
                time.sleep(0.2)
            _, answer = ask(asker.lines, asker.socket)
            path = str(folder / "echo")
            server = multiprocessing.get_context("spawn").Process(target=echo, args=(path, answer), daemon=True)
            server.start()
            bare = socket.socket(socket.AF_UNIX)
            while bare.connect_ex(path):
                time.sleep(0.05)
            bare_lines = bare.makefile("rb")
            runs, peer_runs = [], []
            for _ in range(size.rounds):
                ours, theirs = [], []
                for _ in range(CALLS):
                    ours.append(ask(asker.lines, asker.socket)[0])
                    theirs.append(ask(bare_lines, bare)[0])
                runs.append(statistics.median(ours))
                peer_runs.append(statistics.median(theirs))
            server.terminate()
            server.join()
            bare_lines.close()
            bare.close()
    yield Row(
        key="wire.list",
        what=f"sessions.list of {SESSIONS} rows over the socket, p50",
        unit="us",
        runs=tuple(runs),
        peer="asyncio + json echo",
        peer_runs=tuple(peer_runs),
        judged="ratio",
        goal=1.25,
    )
