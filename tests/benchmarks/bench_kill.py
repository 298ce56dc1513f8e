"""How long a kill takes until nothing is left, verified: an agent that obeys, and one that ignores everything."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from acpbot.errors import StartError
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.registry import Runtimes
from acpbot.sessions.pool import Pool
from acpbot.sessions.turn import Turn
from acpbot.sessions.views import Target
from tests.benchmarks.rows import Row, missing
from tests.support.pool import make_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.rows import Result, Size

GRACE = 1.0
CASES = (
    ("obeys", "obeys, with a tool in a session of its own", "tool echo up && exec sleep 60", 60.0),
    ("ignores", f"ignores everything; the grace is {GRACE * 1000:.0f} ms", "ignore; say up; hang", GRACE * 1000 + 100),
)


class Listener:
    """Knows when a tool has spoken, or when the agent has said something."""

    def __init__(self) -> None:
        self.spoke = asyncio.Event()

    def on_started(self) -> None: ...

    def on_update(self, update) -> None:
        if update.body.get("content"):
            self.spoke.set()

    def on_permission_request(self, ask) -> None:
        ask.select(next(option.option_id for option in ask.options if option.kind == "allow_once"))

    def on_permission_resolved(self, ask) -> None: ...

    def on_question(self, question: object) -> None: ...

    def on_question_closed(self, question: object) -> None: ...

    def on_permission_note(self, note) -> None: ...

    def on_ended(self, end) -> None: ...


async def measure(mode: Literal["cgroup", "subreaper"], prompt: str) -> tuple[float, int]:
    """Return the milliseconds of a kill, and how many processes are left."""
    with tempfile.TemporaryDirectory() as folder:
        launcher, _ = local_runtime(mode)
        settings = make_settings(Path(folder), env={"ACPBOT_DEMO_PACE": "0"}, grace_seconds=GRACE)
        pool = Pool(settings, runtimes=Runtimes(launcher, daemon_id="test"))
        listener = Listener()
        pool.submit("1", Turn([{"type": "text", "text": prompt}], listener, text=prompt), platform="bench")
        await listener.spoke.wait()
        session = pool.row("1").session_id or ""
        (result,) = await pool.kill([Target(thread_id="1", session_id=session)])
        await launcher.aclose()
        left = -1 if result.processes_left is None else result.processes_left
        return result.seconds * 1000, left


def results(size: Size) -> Iterator[Result]:
    logging.disable(logging.WARNING)
    left: list[int] = []
    modes: tuple[Literal["cgroup", "subreaper"], ...] = ("cgroup", "subreaper")
    for mode in modes:
        for key, name, prompt, goal in CASES:
            what = f"kill until verified 0, {mode}: an agent that {name}"
            try:
                found = [asyncio.run(measure(mode, prompt)) for _ in range(size.rounds)]
            except StartError as lacks:
                yield missing(f"kill.{mode}.{key}", what, str(lacks))
                continue
            left += [one for _, one in found]
            yield Row(key=f"kill.{mode}.{key}", what=what, unit="ms", runs=tuple(took for took, _ in found), goal=goal)
    yield Row(
        key="kill.left",
        what="kills after which a process was left, or that nobody could verify",
        unit="kills",
        runs=(float(sum(one != 0 for one in left)),),
        goal=0.0,
    )
