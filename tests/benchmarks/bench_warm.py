"""The first text of a new thread, with and without `[agents.NAME] warm`, beside that of a follow-up in the same run.

Goal: with a process that waits, the first text of a second new thread comes within 1.5 times the time of a follow-up's.

The agent is the demo agent, started after a pause as large programs take it: they were seen to take 5 to 7 s to start,
and their models 1.3 s to the first text of a follow-up. Both are shorter here, in the same proportion.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.support.pool import Harness, Listener

ROUNDS = 5
START_SECONDS = 2.0
MODEL_SECONDS = 0.4
GOAL = 1.5
SLOW = f"import runpy, time; time.sleep({START_SECONDS}); runpy.run_module('acpbot.demo.agent', run_name='__main__')"


class First(Listener):
    """Notes when the first text comes."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = time.perf_counter()
        self.seconds = 0.0

    def on_update(self, update) -> None:
        """A piece of the answer."""
        if update.kind == "agent_message_chunk" and not self.seconds:
            self.seconds = time.perf_counter() - self.begun
        super().on_update(update)


async def first_text(harness: Harness, thread: str) -> float:
    """Seconds until the first text of a prompt."""
    listener = First()
    harness.submit(thread, f"stall {MODEL_SECONDS}; say hello", listener)
    await asyncio.wait_for(listener.over.wait(), 60)
    return listener.seconds


async def until_warm(harness: Harness) -> None:
    """Wait until a process waits."""
    changed = asyncio.Event()
    leave = harness.pool.subscribe(lambda _change, _row: changed.set())
    harness.pool.tick()
    while not any(row.state == "warm" for row in harness.pool.rows()):
        changed.clear()
        await changed.wait()
    leave()


async def measure(folder: Path, warm: int) -> tuple[float, float]:
    """The medians of a new thread's first text, and of a follow-up's."""
    harness = Harness(folder, argv=(sys.executable, "-c", SLOW), warm=warm, max_sessions=2 * ROUNDS)
    new, following = [], []
    try:
        for number in range(ROUNDS):
            if warm:
                await until_warm(harness)
            new.append(await first_text(harness, f"t{number}"))
            following.append(await first_text(harness, f"t{number}"))
    finally:
        await harness.pool.close(grace_seconds=1.0)
        await harness.launcher.aclose()
    return statistics.median(new), statistics.median(following)


def main() -> None:
    """Print the figures."""
    takes = f"{START_SECONDS:g} s to start, and {MODEL_SECONDS:g} s to the first text of any answer"
    print(f"an agent that takes {takes}; medians of {ROUNDS}")
    for name, warm in (("cold", 0), ("warm = 1", 1)):
        with tempfile.TemporaryDirectory() as folder:
            new, following = asyncio.run(measure(Path(folder), warm))
        ratio = new / following
        goal = "" if not warm else f"   goal <= {GOAL:g}: {'holds' if ratio <= GOAL else 'MISSED'}"
        times = f"new thread {new * 1000:7.1f} ms   follow-up {following * 1000:6.1f} ms"
        print(f"{name:9} {times}   ratio {ratio:6.2f}{goal}")


if __name__ == "__main__":
    main()
