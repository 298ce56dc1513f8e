"""What a place costs, beside a plain spawn in the same run: start, line round trip, throughput, kill to proven.

Goals: a bubblewrap session starts at most 30 ms later than a local one. A kill takes at most 60 ms where the agent
obeys, and at most grace + 100 ms where it ignores everything; in a container at most grace + 1 s.

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
from pathlib import Path
from typing import TYPE_CHECKING

from tests.runtimes.conformance import places
from tests.runtimes.conformance.outside import pids_with
from tests.runtimes.conformance.scene import Scene, new_word
from tests.support.container_engine import EngineMissing, docker_engine, podman_engine
from tests.support.launched_agents import Sink
from tests.support.missing_places import bubblewrap_lacks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.runtimes.conformance.places import Place

ROUNDS = 9
TRIPS = 500
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


async def measure(start: Start) -> list[float]:
    """Return milliseconds until the first line is back, milliseconds for a line, then MB/s for each size."""
    starts = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        async with start() as (write, read):
            write(b"x\n")
            await read(2)
            starts.append(time.perf_counter() - began)
    async with start() as (write, read):
        trips = []
        for _ in range(TRIPS):
            began = time.perf_counter()
            write(b"x" * 63 + b"\n")
            await read(64)
            trips.append(time.perf_counter() - began)
        rates = []
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
            rates.append(total / 1e6 / (time.perf_counter() - began))
    return [statistics.median(starts) * 1000, statistics.median(trips) * 1000, *rates]


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


async def measure_place(place: Place) -> tuple[list[float], float, float]:
    with tempfile.TemporaryDirectory() as folder:
        async with place.runtime(new_word()) as runtime:
            scene = Scene(place, runtime, Path(folder))
            figures = await measure(lambda: placed(scene))
            obeying = [await kill(scene, obeys=True) for _ in range(ROUNDS)]
            ignoring = [await kill(scene, obeys=False) for _ in range(3)]
            await scene.aclose()
            return figures, statistics.median(obeying), statistics.median(ignoring)


@contextlib.contextmanager
def found_places() -> Iterator[list[Place]]:
    """The places that this machine can make; for each of the others, what it lacks is printed."""
    found = [places.LOCAL]
    missing = bubblewrap_lacks()
    if missing is None:
        found.append(places.BUBBLEWRAP)
    else:
        print(missing)
    with contextlib.ExitStack() as stack:
        try:
            podman = stack.enter_context(podman_engine())
            found.append(places.PODMAN.with_engine(podman.environ))
            found.append(places.DOCKER.with_engine(stack.enter_context(docker_engine(podman)).environ))
        except EngineMissing as lacks:
            print(lacks)
        yield found


def main() -> None:
    logging.disable(logging.WARNING)
    base = asyncio.run(measure(plain))
    print(_line("plain spawn", base, base))
    starts = {}
    with found_places() as found:
        for place in found:
            figures, obeying, ignoring = asyncio.run(measure_place(place))
            starts[place.name] = figures[0]
            print(_line(place.name, figures, base))
            limits = (0.06, GRACE + 0.1) if place.engine is None else (GRACE + 1.0, GRACE + 1.0)
            print(f"    kill: obeys {obeying * 1000:.0f} ms (<= {limits[0] * 1000:.0f})", end=", ")
            print(f"ignores everything {ignoring * 1000:.0f} ms (<= {limits[1] * 1000:.0f})")
    if "bubblewrap" in starts:
        print(f"bubblewrap starts {starts['bubblewrap'] - starts['local']:.1f} ms later than local (<= 30)")


def _line(name: str, figures: list[float], base: list[float]) -> str:
    start, trip, *rates = (f"{figure:.3g} ({figure / plain:.2f}x)" for figure, plain in zip(figures, base, strict=True))
    sizes = ", ".join(f"{size} B {rate}" for size, rate in zip(SIZES, rates, strict=True))
    return f"{name}: start {start} ms, line {trip} ms, MB/s with lines of {sizes}"


if __name__ == "__main__":
    main()
