"""A real daemon that an agent floods: its memory, and how long another session's turn waits meanwhile."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row
from tests.fakes.daemon import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.rows import Result, Size

FLOODER = Path(__file__).parents[1] / "fakes" / "agents" / "flooder.py"
FLOODS = {"titles": "300 titles of 1 MB", "calls": "40,000 unfinished tool calls"}
OTHERS = ("images", "plan", "commands", "small_values", "endless")
LIMIT = 120


def memory(pid: int, name: str) -> float:
    """MiB of a process. ``name``: as in the file status of proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def flood(kind: str, folder: Path) -> tuple[float, float, float]:
    """Return MiB more at the peak, MiB more afterwards, and seconds that another session's turn took."""
    config = f"[agent]\ncommand = {json.dumps(sys.executable)}\nargs = [{json.dumps(str(FLOODER))}]\n"
    with DaemonProcess(folder, config) as daemon, daemon.wire() as flooded, daemon.wire() as other:
        flooded.socket.settimeout(LIMIT)
        other.socket.settimeout(LIMIT)
        flooded.call("chat.open", thread="1")
        other.call("chat.open", thread="2")
        flooded.turn("1", "hello")
        other.turn("2", "hello")
        pid = daemon.process.pid
        peak, idle = memory(pid, "VmHWM"), memory(pid, "VmRSS")
        flooded.call("chat.send", thread="1", text=kind)
        started = time.monotonic()
        other.turn("2", "hello")
        waited = time.monotonic() - started
        flooded.event("turn_end")
        return memory(pid, "VmHWM") - peak, memory(pid, "VmRSS") - idle, waited


def results(size: Size) -> Iterator[Result]:
    worst: list[float] = [0.0] * size.rounds
    with tempfile.TemporaryDirectory() as name:
        for kind in (*FLOODS, *size.pick(OTHERS, ())):
            found = [flood(kind, Path(name) / f"{kind}{number}") for number in range(size.rounds)]
            worst = [max(known, after) for known, (_, after, _) in zip(worst, found, strict=True)]
            if kind not in FLOODS:
                continue
            yield Row(
                key=f"floods.{kind}.memory",
                what=f"{FLOODS[kind]}: the daemon's memory at its peak",
                unit="MiB more",
                runs=tuple(peak for peak, _, _ in found),
                goal=32.0,
            )
            yield Row(
                key=f"floods.{kind}.others",
                what=f"{FLOODS[kind]}: a turn of another session meanwhile",
                unit="s",
                runs=tuple(waited for _, _, waited in found),
                goal=5.0,
            )
    yield Row(
        key="floods.after",
        what="a session over an idle one after the worst of the floods",
        unit="MiB",
        runs=tuple(worst),
        goal=16.0,
    )
