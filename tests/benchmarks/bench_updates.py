"""Updates per second of acpbot.acp against the Python ACP SDK's client, same agent; and what a stall costs."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.rows import Result, Size

BLASTER = Path(__file__).parents[1] / "fakes" / "agents" / "blaster.py"
COUNT = 50_000
STALLED = 100_000
STALL_SECONDS = 8


async def ours(count: int, *, stall: bool) -> float:
    from acpbot.acp import schema  # noqa: PLC0415 - each side is imported only in a process of its own
    from acpbot.acp.connection import PromptEnded  # noqa: PLC0415 - the same
    from acpbot.config.settings import AgentSettings  # noqa: PLC0415 - the same
    from acpbot.runtimes.local.runtime import local_runtime  # noqa: PLC0415 - the same
    from acpbot.sessions.launch import launch  # noqa: PLC0415 - the same

    launcher, _ = local_runtime("auto")
    settings = AgentSettings(name="b", command=sys.executable, args=(str(BLASTER), str(count)), env=dict(os.environ))
    process, agent = await launch(launcher, settings, Path.cwd(), "bench")
    try:
        await agent.initialize()
        await agent.open(Path.cwd())
        started = time.perf_counter()
        agent.prompt([schema.text_block("go")])
        if stall:
            await asyncio.sleep(STALL_SECONDS)
            return 0.0
        seen, ended = 0, False
        while not ended:
            for item in await agent.next_batch():
                if isinstance(item, schema.Update):
                    if not item.body["content"]["text"].startswith(f"{seen:08d}"):
                        raise SystemExit("an update is out of order")
                    seen += 1
                ended = ended or isinstance(item, PromptEnded)
        if seen != count:
            raise SystemExit(f"{seen} of {count} updates came")
        return count / (time.perf_counter() - started)
    finally:
        await process.kill_all()
        await process.aclose()
        await launcher.aclose()


async def theirs(count: int, *, stall: bool) -> float:
    import acp  # noqa: PLC0415 - each side is imported only in a process of its own

    never, complete = asyncio.Event(), asyncio.Event()

    class Client(acp.Client):
        seen = 0

        async def session_update(self, session_id, update, **_):  # noqa: ARG002 - the SDK's signature
            if stall:
                await never.wait()
            self.seen += 1
            if self.seen == count:
                complete.set()

    client = Client()  # type: ignore[abstract]  # this agent calls no other method
    argv = (sys.executable, str(BLASTER), str(count))
    async with acp.spawn_agent_process(client, *argv, transport_kwargs={"limit": 1 << 26}) as (connection, _process):
        await connection.initialize(protocol_version=1)
        session = await connection.new_session(cwd=str(Path.cwd()), mcp_servers=[])
        started = time.perf_counter()
        prompt = connection.prompt(session_id=session.session_id, prompt=[acp.text_block("go")])
        if stall:
            waiting = asyncio.ensure_future(prompt)
            await asyncio.sleep(STALL_SECONDS)
            waiting.cancel()
            never.set()
            return 0.0
        await prompt
        await complete.wait()
        return count / (time.perf_counter() - started)


def run(side, count: int, stall: bool, found) -> None:
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = asyncio.run(side(count, stall=stall))
    found.send((rate, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024))


def measure(side, count: int, *, stall: bool = False) -> tuple[float, float]:
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=run, args=(side, count, stall, writer))
    process.start()
    writer.close()
    result = reader.recv()
    process.join()
    return result


def results(size: Size) -> Iterator[Result]:
    rates: dict[object, list[float]] = {ours: [], theirs: []}
    for _ in range(size.rounds):
        for side, found in rates.items():
            found.append(measure(side, COUNT)[0])
    yield Row(
        key="updates.rate",
        what="session/update handled, in order",
        unit="a second",
        runs=tuple(rates[ours]),
        peer="the Python ACP SDK",
        peer_runs=tuple(rates[theirs]),
        judged="ratio",
        goal=10.0,
        at_least=True,
    )
    peaks: dict[object, list[float]] = {ours: [], theirs: []}
    for _ in range(size.rounds):
        for side, found in peaks.items():
            found.append(measure(side, STALLED, stall=True)[1])
    yield Row(
        key="updates.stall",
        what=f"peak memory over the start, {STALLED:,} updates that nobody takes",
        unit="MiB",
        runs=tuple(peaks[ours]),
        peer="the Python ACP SDK",
        peer_runs=tuple(peaks[theirs]),
        goal=16.0,
    )
