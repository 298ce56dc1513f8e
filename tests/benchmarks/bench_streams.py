"""200 sessions streaming at once through the local chat: loop lag, health latency, nothing lost, in order; and memory.

Goals: p99 of `health.get` at most 25 ms and of the loop's lag at most 20 ms; the daemon's RSS at most 1.5 times a
process that has imported discord.py, and at most 64 KiB more for an idle session.
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

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess, Wire

SESSIONS = 200
READERS = 8
CHUNKS = 300
PACE = 0.05


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


def main() -> None:
    imported = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import discord; print(open('/proc/self/statm').read().split()[1])"],
        capture_output=True,
        text=True,
        check=True,
    )
    bare = int(imported.stdout) * os.sysconf("SC_PAGE_SIZE") // 1024
    with tempfile.TemporaryDirectory() as name:
        config = DEMO_AGENT + f'env = {{ ACPBOT_DEMO_PACE = "{PACE}" }}\n[pool]\nmax_sessions = {SESSIONS}\n'
        with DaemonProcess(Path(name) / "d", config) as daemon:
            empty = rss_kib(daemon.process.pid)
            print(
                f"daemon idle: {empty / 1024:.0f} MiB, import discord {bare / 1024:.0f} MiB, "
                f"ratio {empty / bare:.2f} (<= 1.5)"
            )
            wires = [daemon.wire() for _ in range(READERS)]
            shares = [[f"t{number}" for number in range(reader, SESSIONS, READERS)] for reader in range(READERS)]
            for wire, threads in zip(wires, shares, strict=True):
                for thread in threads:
                    wire.call("chat.open", thread=thread)
            with daemon.wire() as looker:
                while looker.call("health.get")["pool"]["starting"]:
                    time.sleep(0.2)
                for wire in wires:
                    wire.notifications.clear()
                full = rss_kib(daemon.process.pid)
                print(f"idle session: {(full - empty) / SESSIONS:.0f} KiB more each (<= 64)")
                bad: list[str] = []
                workers = [
                    threading.Thread(target=read, args=(wire, threads, bad))
                    for wire, threads in zip(wires, shares, strict=True)
                ]
                for worker in workers:
                    worker.start()
                waits, lags = [], []
                while any(worker.is_alive() for worker in workers):
                    started = time.perf_counter()
                    lags.append(looker.call("health.get")["loop_lag_ms"])
                    waits.append((time.perf_counter() - started) * 1000)
                    time.sleep(0.02)
            for wire in wires:
                wire.__exit__()
            print(
                f"{SESSIONS} streams of {CHUNKS} chunks, {len(waits)} looks: health.get p50 "
                f"{statistics.median(waits):.1f} ms, p99 {percentile(waits, 99):.1f} ms (<= 25); worst loop lag of ten "
                f"seconds, median {statistics.median(lags):.1f} ms; threads lost or out of order: {len(bad)}"
            )


if __name__ == "__main__":
    main()
