"""What a place costs, beside a plain spawn in the same run: start, line round trip, throughput, kill to proven.

The agent of the first three is cat(1), which costs next to nothing itself. A kill ends an agent with four further
processes, among them a double fork in a session of its own with an empty environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row, missing
from tests.runtimes.conformance import places
from tests.runtimes.conformance.outside import pids_with
from tests.runtimes.conformance.scene import Scene, new_word
from tests.support.container_engine import EngineMissing, docker_engine, podman_engine
from tests.support.kubernetes_cluster import ClusterMissing, kubernetes_cluster
from tests.support.launched_agents import Sink
from tests.support.missing_places import bubblewrap_lacks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.benchmarks.rows import Result, Size
    from tests.runtimes.conformance.places import Place

TRIPS = 200
MIB = 1024 * 1024
SIZES = {64: 8 * MIB, 1024: 16 * MIB, 65536: 64 * MIB}
"""The length of a line, and how much of such lines is sent."""
IN_FLIGHT = 4 * MIB
GRACE = 1.0

Write = Callable[[bytes], None]
Read = Callable[[int], Awaitable[None]]


@contextlib.asynccontextmanager
async def plain() -> AsyncIterator[tuple[Write, Read]]:
    """Cat, as asyncio alone starts it."""
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=IN_FLIGHT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdout = process.stdout

    async def read(count: int) -> None:
        while count:
            count -= len(await stdout.read(count))

    yield process.stdin.write, read
    process.stdin.close()
    await process.wait()


@contextlib.asynccontextmanager
async def placed(scene: Scene) -> AsyncIterator[tuple[Write, Read]]:
    """Cat, in a place."""
    sink = Sink()
    process = await scene.runtime.launch(scene.spec(new_word(), argv=("cat",)), sink, scene.told.append)

    async def read(count: int) -> None:
        await sink.size(count)
        del sink.data[:count]

    yield process.write, read
    process.close_stdin()
    await process.wait()
    await process.aclose()


Start = Callable[[], contextlib.AbstractAsyncContextManager[tuple[Write, Read]]]


@dataclass
class Costs:
    """Of one place, each a run: milliseconds to the first line back, microseconds of a line, MB/s for each size."""

    starts: list[float] = field(default_factory=list)
    trips: list[float] = field(default_factory=list)
    rates: dict[int, list[float]] = field(default_factory=lambda: {size: [] for size in SIZES})


async def measure(start: Start, costs: Costs) -> None:
    """Measure a place once."""
    began = time.perf_counter()
    async with start() as (write, read):
        write(b"x\n")
        await read(2)
        costs.starts.append((time.perf_counter() - began) * 1000)
        trips = []
        for _ in range(TRIPS):
            began = time.perf_counter()
            write(b"x" * 63 + b"\n")
            await read(64)
            trips.append((time.perf_counter() - began) * 1e6)
        costs.trips.append(statistics.median(trips))
        for size, total in SIZES.items():
            lines = (b"x" * (size - 1) + b"\n") * max(1, 65536 // size)
            began = time.perf_counter()
            waiting = 0
            for _ in range(total // len(lines)):
                write(lines)
                waiting += len(lines)
                if waiting >= IN_FLIGHT:
                    await read(IN_FLIGHT // 2)
                    waiting -= IN_FLIGHT // 2
            await read(waiting)
            costs.rates[size].append(total / 1e6 / (time.perf_counter() - began))


async def kill(scene: Scene, *, obeys: bool) -> float:
    """Return the seconds from the first step until nothing is left, proven."""
    agent = await scene.start()
    await agent.ask("family")
    if not obeys:
        await agent.ask("ignore")
    began = time.perf_counter()
    await agent.process.look()
    agent.process.close_stdin()
    if not obeys:
        agent.process.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await agent.process.wait()
    agent.process.kill()
    report = await agent.process.kill_all()
    seconds = time.perf_counter() - began
    assert report.settled
    assert not pids_with(agent.word)
    await agent.process.aclose()
    return seconds


@contextlib.contextmanager
def found_places() -> Iterator[tuple[list[Place], dict[str, str]]]:
    """The places that this machine can make; for each of the others, what it lacks."""
    found, lacking = [places.LOCAL], {}
    why = bubblewrap_lacks()
    if why is None:
        found.append(places.BUBBLEWRAP)
    else:
        lacking[places.BUBBLEWRAP.name] = why
    with contextlib.ExitStack() as stack:
        try:
            podman = stack.enter_context(podman_engine())
            found.append(places.PODMAN.with_engine(podman.environ))
            found.append(places.DOCKER.with_engine(stack.enter_context(docker_engine(podman)).environ))
        except EngineMissing as lacks:
            lacking[
                (places.DOCKER if places.PODMAN.name in {place.name for place in found} else places.PODMAN).name
            ] = str(lacks)
        try:
            found.append(places.KUBERNETES.with_engine(stack.enter_context(kubernetes_cluster()).environ))
        except ClusterMissing as lacks:
            lacking[places.KUBERNETES.name] = str(lacks)
        yield found, lacking


async def measure_all(found: list[Place], size: Size) -> tuple[Costs, dict[str, Costs], dict[str, list[list[float]]]]:
    """Return the costs of a plain spawn, of each place, and the kills of each place: obeying, and ignoring."""
    base, costs, kills = Costs(), {place.name: Costs() for place in found}, {}
    async with contextlib.AsyncExitStack() as stack:
        scenes = {}
        for place in found:
            runtime = await stack.enter_async_context(place.runtime(new_word()))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            scenes[place.name] = Scene(place, runtime, folder)
            stack.push_async_callback(scenes[place.name].aclose)
        # In turn: a machine that gets slower meanwhile is slower for all of them.
        for _ in range(size.rounds):
            await measure(plain, base)
            for name, scene in scenes.items():
                await measure(lambda scene=scene: placed(scene), costs[name])  # type: ignore[misc] # its one argument has a default
        for name, scene in scenes.items():
            kills[name] = [[await kill(scene, obeys=obeys) for _ in range(size.rounds)] for obeys in (True, False)]
    return base, costs, kills


def results(size: Size) -> Iterator[Result]:
    logging.disable(logging.WARNING)
    with found_places() as (found, lacking):
        base, costs, kills = asyncio.run(measure_all(found, size))
        for place in found:
            yield from _rows(place, base, costs, kills[place.name])
    for name, why in lacking.items():
        yield missing(f"runtimes.{name}.start", f"{name}: start of a session", why)


def _rows(place: Place, base: Costs, costs: dict[str, Costs], kills: list[list[float]]) -> Iterator[Row]:
    own, name = costs[place.name], place.name
    local = places.LOCAL.name
    yield Row(
        key=f"runtimes.{name}.start",
        what=f"{name}: start of a session",
        unit="ms",
        runs=tuple(own.starts),
        peer="plain spawn" if name == local else local,
        peer_runs=tuple(base.starts if name == local else costs[local].starts),
        judged="difference",
        goal=30.0 if name == places.BUBBLEWRAP.name else None,
    )
    yield Row(
        key=f"runtimes.{name}.line",
        what=f"{name}: round trip of a line",
        unit="us",
        runs=tuple(own.trips),
        peer="plain spawn",
        peer_runs=tuple(base.trips),
        judged="ratio",
    )
    for size, rates in own.rates.items():
        yield Row(
            key=f"runtimes.{name}.rate.{size}",
            what=f"{name}: throughput with lines of {size:,} bytes",
            unit="MB/s",
            runs=tuple(rates),
            peer="plain spawn",
            peer_runs=tuple(base.rates[size]),
            judged="ratio",
            at_least=True,
        )
    after_grace = GRACE * 1000 + (1000 if place.engine is not None else 100)
    at_once = after_grace if place.engine is not None else 60.0
    for key, words, runs, goal in (
        ("obeys", "obeys", kills[0], at_once),
        ("ignores", f"ignores everything; the grace is {GRACE * 1000:.0f} ms", kills[1], after_grace),
    ):
        yield Row(
            key=f"runtimes.{name}.kill.{key}",
            what=f"{name}: kill until verified 0, an agent that {words}",
            unit="ms",
            runs=tuple(seconds * 1000 for seconds in runs),
            goal=goal,
        )
