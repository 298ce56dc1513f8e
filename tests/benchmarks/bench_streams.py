"""200 sessions streaming at once through the local chat: loop lag, health latency, nothing lost, in order; and memory.

Goals: p99 of `health.get` at most 25 ms and of the loop's lag at most 20 ms; the daemon's RSS at most 1.5 times a
process that has imported discord.py, and at most 64 KiB more for an idle session.

The lag is that of a timer in the daemon's loop, due every 10 ms (tests/support/loop_lag.py). 200 agents, the daemon and
the readers share the machine: the lag is printed as it is, and again without the time for which the daemon, ready to
run, had no processor.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess, Wire
from tests.support import loop_lag

SESSIONS = 200
READERS = 8
CHUNKS = 300
PACE = 0.05
REPOSITORY = Path(__file__).parents[2]


def rss_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def read(wire: Wire, threads: list[str], bad: list[str]) -> None:
    """Send one prompt to each thread and hold what comes against what was asked for."""
    pieces: dict[str, list[str]] = {thread: [] for thread in threads}
    for thread in threads:
        wire.call("chat.send", thread=thread, text=f"stream {CHUNKS}")
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


def percentile(found: list[float], percent: int) -> float:
    return statistics.quantiles(found, n=100)[percent - 1]


def looks(looker: Wire, workers: list[threading.Thread]) -> list[float]:
    """Milliseconds of health.get, again and again, while the workers work."""
    waits = []
    while any(worker.is_alive() for worker in workers):
        started = time.perf_counter()
        looker.call("health.get")
        waits.append((time.perf_counter() - started) * 1000)
        time.sleep(0.02)
    return waits


def stream(daemon: DaemonProcess) -> tuple[float, list[float], list[str]]:
    """Have all sessions stream; when that began, the waits for health.get, and the threads that lost something."""
    wires = [daemon.wire() for _ in range(READERS)]
    shares = [[f"t{number}" for number in range(reader, SESSIONS, READERS)] for reader in range(READERS)]
    empty = rss_kib(daemon.process.pid)
    for wire, threads in zip(wires, shares, strict=True):
        for thread in threads:
            wire.call("chat.open", thread=thread)
    with daemon.wire() as looker:
        while looker.call("health.get")["pool"]["starting"]:
            time.sleep(0.2)
        for wire in wires:
            wire.notifications.clear()
        more = (rss_kib(daemon.process.pid) - empty) / SESSIONS
        print(f"idle session: {more:.0f} KiB more each (<= 64)")
        bad: list[str] = []
        workers = [
            threading.Thread(target=read, args=(wire, threads, bad))
            for wire, threads in zip(wires, shares, strict=True)
        ]
        began = time.monotonic()
        for worker in workers:
            worker.start()
        waits = looks(looker, workers)
    for wire in wires:
        wire.__exit__()
    return began, waits, bad


def main() -> None:
    imported = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import discord; print(open('/proc/self/statm').read().split()[1])"],
        capture_output=True,
        text=True,
        check=True,
    )
    bare = int(imported.stdout) * os.sysconf("SC_PAGE_SIZE") // 1024
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = DEMO_AGENT + f'env = {{ ACPBOT_DEMO_PACE = "{PACE}" }}\n[pool]\nmax_sessions = {SESSIONS}\n'
        environ: dict[str, Any] = {"PYTHONPATH": str(REPOSITORY), loop_lag.VARIABLE: str(folder / "lag")}
        with DaemonProcess(folder / "d", config, module="tests.support.loop_lag", **environ) as daemon:
            idle = rss_kib(daemon.process.pid)
            print(
                f"daemon idle: {idle / 1024:.0f} MiB, import discord {bare / 1024:.0f} MiB, "
                f"ratio {idle / bare:.2f} (<= 1.5)"
            )
            began, waits, bad = stream(daemon)
            ended = time.monotonic()
            daemon.stop()
        samples = [sample for sample in loop_lag.read(folder / "lag") if began <= sample.due <= ended]
    late = [sample.late * 1000 for sample in samples]
    own = [(sample.late - sample.waited) * 1000 for sample in samples]
    print(
        f"{SESSIONS} streams of {CHUNKS} chunks: health.get p50 {statistics.median(waits):.1f} ms, p99 "
        f"{percentile(waits, 99):.1f} ms of {len(waits)} (<= 25); threads lost or out of order: {len(bad)}"
    )
    print(
        f"event loop lag: p50 {statistics.median(late):.1f} ms, p99 {percentile(late, 99):.1f} ms of {len(late)} "
        f"(<= 20), worst {max(late):.0f} ms; without the time in which there was no processor for it: p99 "
        f"{percentile(own, 99):.1f} ms, worst {max(own):.0f} ms"
    )


if __name__ == "__main__":
    main()
