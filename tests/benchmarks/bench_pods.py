"""What agents in pods cost the daemon: many streams open at once, its memory, and a start on a volume that is there.

The cluster is a process of its own, and its pods are processes of this machine: figures of time have its cost too, and
no network. `bench_runtimes` has the figures that each place has.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from acpbot.runtimes.kubernetes.api import Cluster
from acpbot.runtimes.kubernetes.exec_stream import open_stream
from tests.benchmarks import warm_pods
from tests.benchmarks.bench_memory import rss_kib
from tests.benchmarks.rows import Row, missing
from tests.runtimes.conformance import places
from tests.runtimes.conformance.scene import Scene, new_word
from tests.support.kubernetes_cluster import NAMESPACE, ClusterMissing, kubernetes_cluster
from tests.support.launched_agents import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from acpbot.runtimes.kubernetes.channels import ExecStatus
    from acpbot.runtimes.kubernetes.exec_stream import ExecStream
    from acpbot.runtimes.kubernetes.process import KubernetesProcess
    from tests.benchmarks.rows import Result, Size

PODS = 10
PROBE_SECONDS = 0.005
TALK_SECONDS = 5.0
AT_ONCE = 20
IMPORT = """
import time, discord
began = time.perf_counter()
import {}
print(time.perf_counter() - began, open("/proc/self/statm").read().split()[1])
"""
LINE = b"x" * 63 + b"\n"


class Echo:
    """One stream to cat(1): sends a line each second, and notes how long it takes to come back."""

    def __init__(self) -> None:
        self.stream: ExecStream | None = None
        self.trips: list[float] = []
        self._waiting = asyncio.Event()
        self._got = 0

    def stdout_received(self, data: bytes) -> None:
        self._got += len(data)
        if self._got >= len(LINE):
            self._waiting.set()

    def stderr_received(self, _: bytes) -> None:
        """Cat writes none."""

    def stream_ended(self, status: ExecStatus | None) -> None:
        raise AssertionError(status)

    async def trip(self) -> None:
        assert self.stream is not None
        self._got = 0
        self._waiting.clear()
        began = time.perf_counter()
        self.stream.write(LINE)
        await self._waiting.wait()
        self.trips.append(time.perf_counter() - began)

    async def talk(self, phase: float, until: float) -> None:
        """A line each second, not all streams at the same moment."""
        await asyncio.sleep(phase)
        while time.perf_counter() < until:
            await self.trip()
            await asyncio.sleep(1.0)


async def probe(until: float) -> list[float]:
    """How late the event loop is, in seconds, each 5 ms."""
    late = []
    while (now := time.perf_counter()) < until:
        await asyncio.sleep(PROBE_SECONDS)
        late.append(max(0.0, time.perf_counter() - now - PROBE_SECONDS))
    return late


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0


async def cats(scene: Scene, count: int) -> list[KubernetesProcess]:
    """So many sessions of cat(1), each in a pod of its own."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def start() -> KubernetesProcess:
        async with limit:
            word = new_word()
            process = await scene.runtime.launch(scene.spec(word, argv=("cat",)), Sink(), scene.told.append)
            return cast("KubernetesProcess", process)

    return await asyncio.gather(*(start() for _ in range(count)))


async def streams(scene: Scene, cluster: Cluster, count: int) -> tuple[float, float, float]:
    """Return KiB for each of so many streams, the loop's lag and the round trip of a line, p99 in milliseconds."""
    pods = [process.pod.name for process in await cats(scene, PODS)]
    limit = asyncio.Semaphore(AT_ONCE)

    async def start(number: int) -> Echo:
        echo = Echo()
        async with limit:
            target = await cluster.exec_target(pods[number % PODS], ("cat",), stdin=True)
            echo.stream = await open_stream(target, echo)
            await echo.trip()
        return echo

    warm = [await start(number) for number in range(PODS)]
    gc.collect()
    before = rss_kib(os.getpid())
    echoes = await asyncio.gather(*(start(number) for number in range(count)))
    gc.collect()
    more = (rss_kib(os.getpid()) - before) / count
    for echo in echoes:
        echo.trips.clear()
    until = time.perf_counter() + TALK_SECONDS
    talks = [asyncio.create_task(echo.talk(number / count, until)) for number, echo in enumerate(echoes)]
    late = await probe(until)
    await asyncio.gather(*talks)
    for echo in [*warm, *echoes]:
        if echo.stream is not None:
            await echo.stream.aclose()
    return more, p99(late) * 1000, p99([trip for echo in echoes for trip in echo.trips]) * 1000


async def memory(scene: Scene, count: int) -> float:
    """Return KiB for each of so many idle sessions, both of their streams included."""
    await cats(scene, PODS)
    gc.collect()
    before = rss_kib(os.getpid())
    await cats(scene, count)
    gc.collect()
    return (rss_kib(os.getpid()) - before) / count


async def again(scene: Scene) -> float:
    """Return the milliseconds of a start in a thread whose volume is there already."""
    word = new_word()
    first = await scene.runtime.launch(scene.spec(word, argv=("cat",)), Sink(), scene.told.append)
    await first.kill_all()
    await first.aclose()
    await scene.assert_nothing_is_left(word)
    sink = Sink()
    began = time.perf_counter()
    process = await scene.runtime.launch(scene.spec(word, argv=("cat",)), sink, scene.told.append)
    process.write(b"x\n")
    await sink.line()
    milliseconds = (time.perf_counter() - began) * 1000
    await process.kill_all()
    await process.aclose()
    return milliseconds


def imported() -> tuple[float, float]:
    """Return the milliseconds and the MiB that the runtime costs a process that has imported discord.py."""
    found = []
    for module in ("discord", "acpbot.runtimes.kubernetes.runtime"):
        words = [sys.executable, "-W", "ignore", "-c", IMPORT.format(module)]
        seconds, pages = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        found.append((float(seconds) * 1000, int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20))
    (_, base), (milliseconds, with_it) = found
    return milliseconds, with_it - base


async def measure(what: str, count: int) -> list[float]:
    """Return the figures of one measurement, in the cluster that the environment names."""
    with tempfile.TemporaryDirectory() as folder:
        async with places.KUBERNETES.runtime(new_word()) as runtime:
            scene = Scene(places.KUBERNETES, runtime, Path(folder))
            if what == "again":
                return [await again(scene)]
            if what == "session":
                return [await memory(scene, count)]
            cluster = await Cluster.open(None, NAMESPACE, os.environ)
            found = await streams(scene, cluster, count)
            await cluster.aclose()
            return list(found)


def measured(what: str, count: int, environ: Mapping[str, str]) -> list[float]:
    """Measure in a process of its own: memory that was used before is used again."""
    words = [sys.executable, "-m", "tests.benchmarks.bench_pods", what, str(count)]
    done = subprocess.run(words, env={**os.environ, **environ}, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def starts(size: Size) -> Iterator[Result]:
    """The start of a new thread in a cluster where every node is full, with and without a pod that waits."""
    rounds = [warm_pods.seconds_of_starts() for _ in range(size.rounds)]
    runs = [one for one in rounds if one is not None]
    if not runs:
        yield missing("pods.warm", "pods: start of a thread with a pod that waits", "no pods can be made here")
        return
    new = f"a new node takes {warm_pods.NODE_SECONDS:g} s, the image {warm_pods.PULL_SECONDS:g} s"
    for key, at, what in (
        ("cold", 0, f"start of a new thread, {new}"),
        ("warm", 1, "the same, where a pod that waits gives way"),
        ("warm.room", 2, "the same, with room beside a pod that waits"),
    ):
        figures = tuple(run[at] * 1000 for run in runs)
        yield Row(key=f"pods.{key}", what=f"pods: {what}", unit="ms", runs=figures)


def results(size: Size) -> Iterator[Result]:
    imports = [imported() for _ in range(size.rounds)]
    yield Row(key="pods.import", what="pods: import of the runtime", unit="ms", runs=tuple(one for one, _ in imports))
    yield Row(
        key="pods.import.memory",
        what="pods: memory that the import of the runtime takes, beside discord.py",
        unit="MiB",
        runs=tuple(one for _, one in imports),
    )
    yield from starts(size)
    count = size.pick(500, 50)
    found: dict[str, list[list[float]]] = {}
    try:
        with kubernetes_cluster() as cluster:
            for what, number in (("again", 1), ("session", size.pick(40, 5)), ("streams", count)):
                found[what] = [measured(what, number, cluster.environ) for _ in range(size.rounds)]
    except ClusterMissing as why:
        yield missing("pods.session", "pods: memory of the daemon for each session", str(why))
        return
    for key, runs, what, unit, goal in (
        ("again", found["again"], "start in a thread that has a volume", "ms", None),
        ("session", found["session"], "memory of the daemon for each idle session", "KiB", 128.0),
        ("stream", found["streams"], f"memory for each of {count} open streams", "KiB", 40.0),
    ):
        yield Row(key=f"pods.{key}", what=f"pods: {what}", unit=unit, runs=tuple(run[0] for run in runs), goal=goal)
    for key, at, what, goal in (
        ("lag", 1, f"lag of the event loop, {count} streams with a line each second, p99", 20.0),
        ("trip", 2, f"round trip of a line on one of {count} streams, p99", None),
    ):
        figures = tuple(run[at] for run in found["streams"])
        yield Row(key=f"pods.{key}", what=f"pods: {what}", unit="ms", runs=figures, goal=goal)


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    print(*asyncio.run(measure(sys.argv[1], int(sys.argv[2]))))
