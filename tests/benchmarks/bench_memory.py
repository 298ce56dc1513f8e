"""The daemon's memory: idle, against a process that has imported discord.py, and for each idle session more."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.rows import Result, Size

FIRST = 10
"""The first sessions bear what the daemon loads once."""
PAGE = os.sysconf("SC_PAGE_SIZE")
IMPORT = "import discord; print(open('/proc/self/statm').read().split()[1])"


def rss_kib(pid: int) -> float:
    """The resident memory of a process. Source: proc_pid_statm(5)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1024


def imported() -> float:
    """MiB of a process that has imported discord.py and nothing else."""
    argv = [sys.executable, "-W", "ignore", "-c", IMPORT]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout) * PAGE / 2**20


def idle(folder: Path, sessions: int) -> tuple[float, float]:
    """Return MiB of a daemon without sessions, and KiB more for each of so many idle ones after the first few."""
    config = DEMO_AGENT + f"[pool]\nmax_sessions = {FIRST + sessions}\n"
    with DaemonProcess(folder, config) as daemon, daemon.wire() as wire:
        pid = daemon.process.pid
        empty = rss_kib(pid)
        began = empty
        for number in range(FIRST + sessions):
            if number == FIRST:
                wait_until_started(wire)
                began = rss_kib(pid)
            wire.call("chat.open", thread=f"t{number}")
            wire.call("chat.leave", thread=f"t{number}")  # a connection takes the events of 64 at most
        wait_until_started(wire)
        return empty / 1024, (rss_kib(pid) - began) / sessions


def wait_until_started(wire: Wire) -> None:
    while wire.call("health.get")["pool"]["starting"]:
        time.sleep(0.2)


def results(size: Size) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / f"d{number}" for number in range(size.rounds)]
        found = [(imported(), *idle(folder, size.pick(100, 20))) for folder in folders]
    yield Row(
        key="memory.idle",
        what="the daemon's memory, idle, with the local chat",
        unit="MiB",
        runs=tuple(empty for _, empty, _ in found),
        peer="import discord",
        peer_runs=tuple(bare for bare, _, _ in found),
        judged="ratio",
        goal=0.8,
    )
    yield Row(
        key="memory.session",
        what="the daemon's memory for each idle session",
        unit="KiB",
        runs=tuple(more for _, _, more in found),
        goal=48.0,
    )
