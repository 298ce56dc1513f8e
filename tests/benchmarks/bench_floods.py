"""What a flood costs: the last of many updates against the first, 40,000 open tool calls against 5,000.

`bench_floods_daemon` measures the memory of a real daemon.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks.rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.rows import Result, Size

COUNT = 100_000
WINDOW = 2000


def line(kind: str, **members: Any) -> bytes:
    params = {"sessionId": "s", "update": {"sessionUpdate": kind, **members}}
    return json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params}).encode() + b"\n"


def chunk(number: int) -> bytes:
    return line("agent_message_chunk", content={"type": "text", "text": f"word {number} "})


def call(number: int) -> bytes:
    return line("tool_call", toolCallId=str(number), title=f"call {number}", status="in_progress")


def plan(number: int) -> bytes:
    return line("plan", entries=[{"content": f"step {number}", "status": "pending"}])


def handler() -> Callable[[bytes], None]:
    """All that happens to an update between the pipe and the text that is shown."""
    from acpbot.acp import schema  # noqa: PLC0415 - imported in the process that is measured
    from acpbot.acp.connection import AgentConnection  # noqa: PLC0415 - the same
    from acpbot.chat.rendering.live_message import LiveMessage  # noqa: PLC0415 - the same
    from acpbot.sessions.open_tool_calls import OpenToolCalls  # noqa: PLC0415 - the same

    connection, live, calls = AgentConnection(), LiveMessage(tables="code"), OpenToolCalls(time.monotonic)

    def handle(data: bytes) -> None:
        connection.data_received(data)
        batch = connection.next_batch()
        try:
            batch.send(None)
        except StopIteration as done:
            items = done.value
        else:
            try:
                batch.send(None)
            except StopIteration as done:
                items = done.value
        for item in items:
            if item.kind == "agent_message_chunk":
                live.append(schema.chunk_text(item.body))
            elif item.kind == "tool_call":
                calls.handle(item.body, cut=item.cut)
                live.tool(item.body["toolCallId"], title=item.body["title"], kind=None, status=item.body["status"])
            else:
                live.plan(item.body["entries"])
        live.bodies()

    return handle


def last_and_first(make: Callable[[int], bytes]) -> tuple[float, float]:
    """Return the microseconds of CPU time for each of the last ones, and of the first ones."""
    handle = handler()
    lines = [make(number) for number in range(COUNT)]
    took = []
    for at in range(0, COUNT, WINDOW):
        started = time.process_time()
        for data in lines[at : at + WINDOW]:
            handle(data)
        took.append((time.process_time() - started) * 1e6 / WINDOW)
    return took[-1], took[0]


def open_calls(count: int) -> float:
    """Return the milliseconds of CPU time of so many open tool calls."""
    handle = handler()
    lines = [call(number) for number in range(count)]
    started = time.process_time()
    for data in lines:
        handle(data)
    return (time.process_time() - started) * 1000


def many_and_few(counts: tuple[int, int]) -> tuple[float, float]:
    return open_calls(counts[0]), open_calls(counts[1])


def run(measured: Callable[[Any], tuple[float, float]], argument: Any, found: Any) -> None:
    found.send(measured(argument))


def measure(
    measured: Callable[[Any], tuple[float, float]], argument: Any, rounds: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure it in as many processes."""
    pairs = []
    for _ in range(rounds):
        reader, writer = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=run, args=(measured, argument, writer))
        process.start()
        writer.close()
        pairs.append(reader.recv())
        process.join()
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


def results(size: Size) -> Iterator[Result]:
    for name, make in (("text", chunk), ("tool call", call), ("plan", plan)):
        runs, peer_runs = measure(last_and_first, make, size.rounds)
        yield Row(
            key=f"floods.{name.replace(' ', '_')}",
            what=f"{name}: each of the last {WINDOW:,} of {COUNT:,} updates of a turn",
            unit="us",
            runs=runs,
            peer=f"of the first {WINDOW:,}",
            peer_runs=peer_runs,
            judged="ratio",
            goal=1.5,
        )
    runs, peer_runs = measure(many_and_few, (40_000, 5000), size.rounds)
    yield Row(
        key="floods.open_calls",
        what="40,000 tool calls that do not end",
        unit="ms",
        runs=runs,
        peer="5,000 of them",
        peer_runs=peer_runs,
        judged="ratio",
        goal=14.0,
    )
