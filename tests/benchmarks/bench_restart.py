"""A daemon with 10,000 suspended threads against one with none: its start, `acpctl sessions`, its loop at the tick.

Goals: the start, until READY=1, at most 1.5 times as long; `acpctl sessions -o json`, whole process, as fast (at most
1.1 times: the two are the same within the noise). `--all` lists all of them and is printed for information.
"""

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

from acpbot.storage.records import ThreadRecord
from acpbot.storage.store import Store
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess

THREADS = 10_000
STARTS = 15
LISTS = 25
LISTS_OF_ALL = 7
SESSIONS = 10
LOOKS = 1500
PAUSE = 0.003
ACPCTL = [str(Path(sys.executable).parent / "acpctl"), "sessions"]
ALIKE = 1.1


def thread(number: int) -> ThreadRecord:
    """As a day of a busy server leaves them, none of them so old that it is forgotten."""
    used_at = time.time() - 3600 * 20 * number / THREADS
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
        store.save_thread(thread(number))
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


def compare(name: str, none: list[float], many: list[float], goal: float | None = None) -> None:
    few, lot = statistics.median(none), statistics.median(many)
    wanted = "" if goal is None else f" (<= {goal})"
    print(f"{name}: {lot:.1f} ms with {THREADS:,} threads, {few:.1f} ms with none, ratio {lot / few:.2f}{wanted}")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folders = Path(name) / "none", Path(name) / "many"
        asyncio.run(fill(folders[1], THREADS))
        starts: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        for _ in range(STARTS):
            for folder, found in zip(folders, starts, strict=True):
                found.append(start(folder))
        for column, (what, goal) in enumerate([("start until READY=1", 1.5), ("  of that CPU time", None)]):
            compare(what, [times[column] for times in starts[0]], [times[column] for times in starts[1]], goal)

        with DaemonProcess(folders[0], DEMO_AGENT) as none, DaemonProcess(folders[1], DEMO_AGENT) as many:
            daemons = none, many
            for daemon in daemons:
                with daemon.wire() as wire:
                    for number in range(SESSIONS):
                        wire.call("chat.open", thread=f"t{number}")
                    while wire.call("health.get")["pool"]["starting"]:
                        time.sleep(0.2)
                    found = wire.call("health.get")["pool"]
                    if found["suspended"] != (THREADS if daemon is many else 0):
                        raise SystemExit(f"the threads are missing: {found}")
            for options, rounds, goal in (
                (("-o", "json"), LISTS, ALIKE),
                (("--all", "-o", "json"), LISTS_OF_ALL, None),
            ):
                times: tuple[list[float], list[float]] = ([], [])
                for _ in range(rounds):
                    for daemon, took in zip(daemons, times, strict=True):
                        took.append(lists(daemon, *options))
                compare(f"acpctl sessions {' '.join(options)}", *times, goal)
            for daemon, what in zip(daemons, ("none", f"{THREADS:,} threads"), strict=True):
                waits = looks(daemon)
                print(
                    f"health.get with {what}, {LOOKS} looks, ticks among them: p50 {statistics.median(waits):.2f} ms, "
                    f"p99 {statistics.quantiles(waits, n=100)[98]:.2f} ms, worst {max(waits):.1f} ms"
                )


if __name__ == "__main__":
    main()
