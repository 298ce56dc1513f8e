"""500 sessions that stream at once through the local chat: how late the event loop is, and whether anything is lost.

The lag is that of a timer in the daemon's loop, due every 10 ms (tests/support/loop_lag.py), without the time for which
the daemon, ready to run, had no processor: the agents and the readers share the machine with it.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.benchmarks.rows import Row, percentile
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess, Wire
from tests.support import loop_lag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.rows import Result, Size

READERS = 8
LIMIT = 300
PACE = 0.1
REPOSITORY = Path(__file__).parents[2]


class Round(NamedTuple):
    """When it began and ended (CLOCK_MONOTONIC), milliseconds of each health.get, and the threads with a loss."""

    began: float
    ended: float
    waits: list[float]
    bad: list[str]


def read(wire: Wire, threads: list[str], chunks: int, bad: list[str]) -> None:
    """Send one prompt to each thread and compare the pieces that come with the whole that the end of the turn has."""
    pieces: dict[str, list[str]] = {thread: [] for thread in threads}
    for thread in threads:
        wire.call("chat.send", thread=thread, text=f"stream {chunks}")
    left = set(threads)
    while left:
        message = wire.notifications.pop(0) if wire.notifications else wire.read()
        params = message.get("params", {})
        if params.get("type") == "text":
            pieces[params["thread"]].append(params["text"])
        elif params.get("type") == "turn_end":
            thread = params["thread"]
            left.discard(thread)
            if "".join(pieces[thread]) != params["text"] or params["stop_reason"] != "end_turn":
                bad.append(thread)


def looks(looker: Wire, workers: list[threading.Thread]) -> list[float]:
    """Return the milliseconds of each health.get while the workers work."""
    waits = []
    while any(worker.is_alive() for worker in workers):
        started = time.perf_counter()
        looker.call("health.get")
        waits.append((time.perf_counter() - started) * 1000)
        time.sleep(0.02)
    return waits


class Streams:
    """A daemon with so many idle sessions, which stream whenever :meth:`stream` is called."""

    def __init__(self, folder: Path, sessions: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.lag = folder / "lag"
        config = DEMO_AGENT + f'env = {{ ACPBOT_DEMO_PACE = "{PACE}" }}\n[pool]\nmax_sessions = {sessions}\n'
        environ: dict[str, Any] = {"PYTHONPATH": str(REPOSITORY), loop_lag.VARIABLE: str(self.lag)}
        self.daemon = DaemonProcess(folder / "d", config, module="tests.support.loop_lag", **environ)
        self.wires = [self.daemon.wire() for _ in range(min(READERS, sessions))]
        self.shares = [[f"t{number}" for number in range(reader, sessions, READERS)] for reader in range(READERS)]
        for wire, threads in zip(self.wires, self.shares, strict=False):
            wire.socket.settimeout(LIMIT)
            for thread in threads:
                wire.call("chat.open", thread=thread)
        self.looker = self.daemon.wire()
        self.looker.socket.settimeout(LIMIT)
        while self.looker.call("health.get")["pool"]["starting"]:
            time.sleep(0.2)

    def stream(self, chunks: int) -> Round:
        bad: list[str] = []
        for wire in self.wires:
            wire.notifications.clear()
        workers = [
            threading.Thread(target=read, args=(wire, threads, chunks, bad))
            for wire, threads in zip(self.wires, self.shares, strict=False)
        ]
        began = time.monotonic()
        for worker in workers:
            worker.start()
        waits = looks(self.looker, workers)
        return Round(began, time.monotonic(), waits, bad)

    def close(self) -> list[loop_lag.Sample]:
        """End the daemon; the samples of its loop's lag."""
        for wire in (*self.wires, self.looker):
            wire.__exit__()
        self.daemon.stop(seconds=LIMIT)  # it ends hundreds of agents
        self.daemon.close()
        return loop_lag.read(self.lag)


def measure(sessions: int, chunks: int, rounds: int) -> tuple[list[Round], list[list[float]], list[list[float]]]:
    """Return the rounds, and for each the lag in milliseconds: without the time that had no processor, and with it."""
    with tempfile.TemporaryDirectory() as name:
        streams = Streams(Path(name), sessions)
        try:
            found = [streams.stream(chunks) for _ in range(rounds)]
        finally:
            samples = streams.close()
    within = [[sample for sample in samples if one.began <= sample.due <= one.ended] for one in found]
    own = [[(sample.late - sample.waited) * 1000 for sample in samples] for samples in within]
    late = [[sample.late * 1000 for sample in samples] for samples in within]
    return found, own, late


def results(size: Size) -> Iterator[Result]:
    sessions, chunks = size.pick(500, 40), size.pick(200, 30)
    found, own, late = measure(sessions, chunks, size.rounds)
    raw = sorted(percentile(lags, 99) for lags in late)[len(late) // 2]
    yield Row(
        key="streams.lag",
        what=f"{sessions} sessions streaming: lag of the event loop, p99",
        unit="ms",
        runs=tuple(percentile(lags, 99) for lags in own),
        goal=20.0,
        note=f"without missing CPU; with it {raw:.0f} ms",
    )
    yield Row(
        key="streams.health",
        what=f"{sessions} sessions streaming: health.get, p50",
        unit="ms",
        runs=tuple(percentile(one.waits, 50) for one in found),
    )
    yield Row(
        key="streams.lost",
        what=f"{sessions} sessions streaming: with a loss or out of order",
        unit="sessions",
        runs=tuple(float(len(one.bad)) for one in found),
        goal=0.0,
    )
