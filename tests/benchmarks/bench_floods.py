"""What a flood costs, as ratios in one run: the last of many updates to the first, 40,000 open tool calls to 5,000.

Goals: at most 1.5 for the 100,000th update, tool call or plan; at most 14 for the calls. tests/attacks/test_floods.py
measures the memory of a real daemon.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 100_000
WINDOW = 2000
ROUNDS = 3


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


def last_against_first(make: Callable[[int], bytes]) -> float:
    handle = handler()
    lines = [make(number) for number in range(COUNT)]
    took = []
    for at in range(0, COUNT, WINDOW):
        started = time.process_time()
        for data in lines[at : at + WINDOW]:
            handle(data)
        took.append(time.process_time() - started)
    return took[-1] / took[0]


def open_calls(count: int) -> float:
    handle = handler()
    lines = [call(number) for number in range(count)]
    started = time.process_time()
    for data in lines:
        handle(data)
    return time.process_time() - started


def many_against_few(_: object) -> float:
    return open_calls(40_000) / open_calls(5000)


def run(measured: Callable[[Any], float], argument: Any, results: Any) -> None:
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results.send((measured(argument), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024))


def measure(measured: Callable[[Any], float], argument: Any) -> float:
    found = []
    for _ in range(ROUNDS):
        reader, writer = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=run, args=(measured, argument, writer))
        process.start()
        writer.close()
        found.append(reader.recv()[0])
        process.join()
    return statistics.median(found)


def main() -> None:
    for name, make in (("text", chunk), ("tool call", call), ("plan", plan)):
        ratio = measure(last_against_first, make)
        print(f"{name}: the last {WINDOW:,} of {COUNT:,} against the first, median of {ROUNDS}: {ratio:.2f} (<= 1.5)")
    print(f"40,000 open tool calls against 5,000: {measure(many_against_few, None):.1f} (<= 14)")


if __name__ == "__main__":
    main()
