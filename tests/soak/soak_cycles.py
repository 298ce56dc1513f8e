"""1,000 start / turn / kill cycles of the demo agent in a row: nothing may be left, nothing may grow.

Run by `make soak`. Exits 1 where a process, a descriptor, a task or a cgroup directory is left, or memory grows.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.registry import Runtimes
from acpbot.sessions.pool import Pool
from acpbot.sessions.turn import PermissionNote, PermissionRequest, Turn, TurnEnd
from acpbot.sessions.views import Target
from tests.support.pool import make_settings

if TYPE_CHECKING:
    from acpbot.acp.schema import Update

CYCLES = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
WARM_UP = 50


class Listener:
    """Knows when its turn is over."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    def on_started(self) -> None: ...

    def on_update(self, update: Update) -> None: ...

    def on_permission_request(self, ask: PermissionRequest) -> None: ...

    def on_permission_resolved(self, ask: PermissionRequest) -> None: ...

    def on_question(self, question: object) -> None: ...

    def on_question_closed(self, question: object) -> None: ...

    def on_permission_note(self, note: PermissionNote) -> None: ...

    def on_ended(self, end: TurnEnd) -> None:
        del end
        self.over.set()


def state(cgroup_base: Path | None) -> dict[str, int]:
    """What could leak, counted now."""
    children = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent(entry) == os.getpid()]
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "processes": len(children),
        "fds": len(list(Path("/proc/self/fd").iterdir())),
        "tasks": len(asyncio.all_tasks()),
        "cgroups": 0 if cgroup_base is None else len([*cgroup_base.glob(f"acpbot-*-{os.getpid()}-*/*/")]),
        "rss_kib": pages * 4,
    }


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


async def soak(mode: Literal["cgroup", "subreaper"]) -> bool:
    launcher, reason = local_runtime(mode)
    base = Path(reason.split(": ")[1].removesuffix(" can be written")) if mode == "cgroup" else None
    with tempfile.TemporaryDirectory() as folder:
        settings = make_settings(Path(folder), env={"ACPBOT_DEMO_PACE": "0"})
        pool = Pool(settings, runtimes=Runtimes(launcher, daemon_id="test"))
        first: dict[str, int] = {}
        started = time.monotonic()
        for cycle in range(CYCLES):
            listener = Listener()
            words = "say a; fork 1" if cycle % 2 else "say a"
            pool.submit("1", Turn([{"type": "text", "text": words}], listener, text="a"), platform="soak")
            await listener.over.wait()
            session = pool.row("1").session_id or ""
            (result,) = await pool.kill([Target(thread_id="1", session_id=session)], forget=cycle % 3 == 0)
            if result.processes_left or result.outcome != "ended":
                print(f"cycle {cycle}: {result}")
                return False
            if cycle == WARM_UP:
                first = state(base)
        last = state(base)
        print(f"{mode}: {CYCLES} cycles in {time.monotonic() - started:.0f} s; first {first}, last {last}")
        await launcher.aclose()
    grown = last["rss_kib"] - first["rss_kib"]
    same = all(last[key] <= first[key] for key in ("processes", "fds", "tasks", "cgroups"))
    return same and grown < 4096


def main() -> None:
    logging.disable(logging.WARNING)
    fine = [asyncio.run(soak("cgroup")), asyncio.run(soak("subreaper"))]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
