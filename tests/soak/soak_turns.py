"""10,000 turns over a handful of threads of one daemon, its store included: nothing may be left of them, nothing grow.

Run by `make soak`; by hand: ``python -m tests.soak.soak_turns [TURNS]``. Exits 1 where an answer is not the whole one,
where the daemon's memory, descriptors or threads grow after the first tenth, or where the store keeps a turn or a post.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess, Wire
from tests.support.pool_restarts import rows

CONFIG = f'{DEMO_AGENT}env = {{ ACPBOT_DEMO_PACE = "0" }}\n'
THREADS = 5
GROWTH_KIB = 4096
SETTLE_SECONDS = 10
SPARE = 4
"""Descriptors that a look at /proc holds at that moment, and threads that asyncio's executor starts late."""
WAYS = (
    "say {0}",
    "stream 30; say {0}",
    "think; plan; say {0}",
    "tool; say {0}",
    "stderr 5; say {0}",
    "edit; say {0}",
    "title Turn {0}; say {0}",
    "long 5000; say {0}",
)


def turns(wire: Wire, thread: str, numbers: range) -> list[str]:
    """Have these turns, one after the other; what was not as it should be."""
    wrong = []
    for number in numbers:
        asked = WAYS[number % len(WAYS)].format(f"the end of {number}")
        end = wire.turn(thread, asked)
        if end["stop_reason"] != "end_turn" or not end["text"].endswith(f"the end of {number}"):
            wrong.append(f"{asked}: {end}"[:300])
    return wrong


def left(daemon: DaemonProcess) -> dict[str, int]:
    """How many rows of the store tell of something unfinished; the last ones may still be on their way to the disk."""
    path = daemon.folder / "state" / "acpbot" / "acpbot.sqlite3"
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = {table: len(rows(path, table)) for table in ("turns", "posts")}
        if not any(found.values()) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def state(daemon: DaemonProcess) -> dict[str, int]:
    """What could leak, counted now."""
    process = Path(f"/proc/{daemon.process.pid}")
    pages = int((process / "statm").read_text().split()[1])
    files = daemon.folder / "state" / "acpbot"
    return {
        "rss_kib": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
        # Only root may list the daemon's descriptors; the size of the folder is their number from Linux 6.2 on.
        "fds": len(list((process / "fd").iterdir())) if os.geteuid() == 0 else (process / "fd").stat().st_size,
        "threads": len(list((process / "task").iterdir())),
        "store_kib": sum(path.stat().st_size for path in files.glob("acpbot.sqlite3*")) // 1024,
    }


def soak(daemon: DaemonProcess, count: int) -> tuple[list[dict[str, int]], list[str]]:
    """Have so many turns; what there was after the first tenth, the half and all, and what was not as it should be."""
    names = [f"t{number}" for number in range(THREADS)]
    wires = [daemon.wire() for _ in names]
    for wire, thread in zip(wires, names, strict=True):
        wire.call("chat.open", thread=thread)
    began, done = time.monotonic(), 0
    marks: list[dict[str, int]] = []
    wrong: list[str] = []
    with ThreadPoolExecutor(THREADS) as workers:
        for mark in (count // 10, count // 2, count):
            shares = [range(done + number, mark, THREADS) for number in range(THREADS)]
            wrong += [words for found in workers.map(turns, wires, names, shares) for words in found]
            marks.append(state(daemon) | left(daemon))
            print(f"{mark:,} turns in {time.monotonic() - began:.0f} s: {marks[-1]}", file=sys.stderr, flush=True)
            done = mark
    for wire in wires:
        wire.__exit__()
    return marks, wrong


def grown(marks: list[dict[str, int]]) -> list[str]:
    """Return what is not as it was after the first tenth."""
    first, last = marks[0], marks[-1]
    more = {"rss_kib": GROWTH_KIB, "fds": SPARE, "threads": SPARE}
    found = [f"{key}: {first[key]}, then {last[key]}" for key, most in more.items() if last[key] - first[key] > most]
    return found + [f"{table}: {one[table]} are left" for one in marks for table in ("turns", "posts") if one[table]]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as name, DaemonProcess(Path(name) / "d", CONFIG) as daemon:
        marks, wrong = soak(daemon, count)
        wrong += grown(marks)
        if daemon.stop() != 0:
            wrong.append("the daemon did not end well")
        if "Traceback" in daemon.log.read_text():
            wrong.append("a traceback is in the log")
    print(*wrong[:20], sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
