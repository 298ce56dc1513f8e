"""A daemon with 10,000 suspended threads against one with none: its start, `acpctl sessions`, its loop at the tick."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.storage.records import ThreadRecord
from acpbot.storage.store import Store
from tests.benchmarks.rows import Row, percentile
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.benchmarks.rows import Result, Size

    Pair = tuple[DaemonProcess, DaemonProcess]

THREADS = 10_000
CALLS = 5
SESSIONS = 10
LOOKS = 400
PAUSE = 0.003
ACPCTL = [str(Path(sys.executable).parent / "acpctl"), "sessions"]


def thread(number: int, count: int) -> ThreadRecord:
    """As a day of a busy server leaves them, none of them so old that it is forgotten."""
    used_at = time.time() - 3600 * 20 * number / count
    thread_id = str(1_417_221_234_567_890_123 + number * 4_194_304_007)
    return ThreadRecord(
        thread_id=thread_id,
        platform="local",
        agent="default",
        owner="80351110224678912",
        title=f"Please find out why the tests of module {number} fail on a Tuesday",
        created_at=datetime.fromtimestamp(used_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        used_at=used_at,
        acp_session_id=str(uuid.uuid4()),
        resumable=True,
        turns=number % 40,
        chosen={"model": "a-model"} if number % 3 == 0 else {},
    )


async def fill(folder: Path, count: int) -> None:
    """Write the threads into the store that the daemon of this folder will open."""
    store = await asyncio.to_thread(Store.open, folder / "state" / "acpbot" / "acpbot.sqlite3")
    for number in range(count):
        store.save_thread(thread(number, count))
    await store.durable()
    await asyncio.to_thread(store.close)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far. Source: proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(folder: Path) -> tuple[float, float]:
    """Milliseconds until READY=1, and of CPU time in them."""
    started = time.perf_counter()
    with DaemonProcess(folder, DEMO_AGENT) as daemon:
        took = time.perf_counter() - started
        cpu = cpu_seconds(daemon.process.pid)
        if daemon.stop() != 0:
            raise SystemExit(f"a daemon did not end well:\n{daemon.log.read_text()}")
    return took * 1000, cpu * 1000


def lists(daemon: DaemonProcess, *options: str) -> float:
    """Milliseconds of one `acpctl sessions`, whole process."""
    started = time.perf_counter()
    subprocess.run([*ACPCTL, *options], stdout=subprocess.DEVNULL, check=True, env=os.environ | daemon.environ)
    return (time.perf_counter() - started) * 1000


def looks(daemon: DaemonProcess) -> list[float]:
    """Milliseconds of health.get, again and again, so that some meet the tick: once a second."""
    found = []
    with daemon.wire() as wire:
        for _ in range(LOOKS):
            started = time.perf_counter()
            wire.call("health.get")
            found.append((time.perf_counter() - started) * 1000)
            time.sleep(PAUSE)
    return found


def medians(
    rounds: int, measured: Callable[[DaemonProcess], float], daemons: Pair
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measure both in turn; for each the medians of the rounds."""
    found: list[tuple[float, float]] = []
    for _ in range(rounds):
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(CALLS):
            for daemon, took in zip(daemons, times, strict=True):
                took.append(measured(daemon))
        found.append((statistics.median(times[0]), statistics.median(times[1])))
    return tuple(one for one, _ in found), tuple(one for _, one in found)


def row(key: str, what: str, times: tuple[Sequence[float], Sequence[float]], goal: float | None = None) -> Row:
    """Return the row of ``times`` with none and with many."""
    none, many = times
    return Row(
        key=f"restart.{key}",
        what=f"{THREADS:,} known threads: {what}",
        unit="ms",
        runs=tuple(many),
        peer="with none",
        peer_runs=tuple(none),
        judged="ratio",
        goal=goal,
    )


def results(size: Size) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folders = Path(name) / "none", Path(name) / "many"
        asyncio.run(fill(folders[1], THREADS))
        starts: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        for _ in range(size.rounds):
            for folder, found in zip(folders, starts, strict=True):
                times = [start(folder) for _ in range(3)]
                found.append((statistics.median(one for one, _ in times), statistics.median(cpu for _, cpu in times)))
        for column, key, what, goal in ((0, "start", "start until READY=1", 1.5), (1, "cpu", "CPU time of it", None)):
            none_took, many_took = ([times[column] for times in found] for found in starts)
            yield row(key, what, (none_took, many_took), goal)
        with DaemonProcess(folders[0], DEMO_AGENT) as none, DaemonProcess(folders[1], DEMO_AGENT) as many:
            daemons = none, many
            for daemon in daemons:
                with daemon.wire() as wire:
                    for number in range(SESSIONS):
                        wire.call("chat.open", thread=f"t{number}")
                    while wire.call("health.get")["pool"]["starting"]:
                        time.sleep(0.2)
                    known = wire.call("health.get")["pool"]["suspended"]
                    if known != (THREADS if daemon is many else 0):
                        raise SystemExit(f"the threads are missing: {known}")
            # The two are the same within the noise.
            took = medians(size.rounds, lambda daemon: lists(daemon, "-o", "json"), daemons)
            yield row("list", "acpctl sessions -o json, whole process", took, 1.1)
            took = medians(size.rounds, lambda daemon: lists(daemon, "--all", "-o", "json"), daemons)
            yield row("list_all", "acpctl sessions --all -o json, whole process", took)
            waits = [[looks(daemon) for _ in range(size.rounds)] for daemon in daemons]
            for percent in (50, 99):
                none_took, many_took = ([percentile(found, percent) for found in one] for one in waits)
                yield row(f"health.{percent}", f"health.get while ticks go by, p{percent}", (none_took, many_took))
