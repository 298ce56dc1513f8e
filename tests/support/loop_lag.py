"""`acpbot` with a timer of the benchmark's in its event loop, which writes down how late the loop calls it.

Run in acpbot's place (``python -m tests.support.loop_lag run ...``). At its end the samples, one every 10 ms, are
written to the file that ``ACPBOT_BENCH_LAG`` names.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from pathlib import Path
from typing import NamedTuple

from acpbot.__main__ import main

VARIABLE = "ACPBOT_BENCH_LAG"
INTERVAL = 0.01
SCHEDSTAT = Path("/proc/thread-self/schedstat")


class Sample(NamedTuple):
    """When it was due (CLOCK_MONOTONIC), how late it was, and how much of that ``waited`` for a processor; seconds.

    A thread that is ready to run and has no processor is the machine's doing, and not the loop's.
    """

    due: float
    late: float
    waited: float


def read(path: Path) -> list[Sample]:
    """The samples of a daemon that has ended."""
    flat = array("d", path.read_bytes())
    return [Sample(*flat[at : at + 3]) for at in range(0, len(flat), 3)]


class Sampler:
    """Samples of one loop's lag, one after the other in ``flat``, where they take next to no memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.flat = array("d")
        self._loop = loop
        self._waited = 0.0
        loop.call_soon(self._start)

    def _start(self) -> None:
        self._waited = waited()
        self._schedule()

    def _schedule(self) -> None:
        self._due = self._loop.time() + INTERVAL
        self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        late, before = self._loop.time() - self._due, self._waited
        self._waited = waited()
        self.flat.extend(Sample(self._due, late, min(late, self._waited - before)))
        self._schedule()


def waited() -> float:
    """Seconds that this thread was ready to run and had no processor. Source: sched-stats.rst of the kernel."""
    try:
        return int(SCHEDSTAT.read_bytes().split()[1]) / 1e9
    except OSError:  # not every kernel counts them
        return 0.0


class Policy(asyncio.DefaultEventLoopPolicy):
    """Gives each loop a sampler."""

    def __init__(self) -> None:
        super().__init__()
        self.samplers: list[Sampler] = []

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().new_event_loop()
        self.samplers.append(Sampler(loop))
        return loop


if __name__ == "__main__":
    policy = Policy()
    asyncio.set_event_loop_policy(policy)
    try:
        main()
    finally:
        (sampler,) = policy.samplers
        Path(os.environ[VARIABLE]).write_bytes(sampler.flat.tobytes())
