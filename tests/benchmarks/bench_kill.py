"""How long a kill takes until nothing is left, verified: an agent that obeys, and one that ignores everything.

Goals: at most 150 ms with a setsid'd tool running when it obeys; at most grace + 250 ms when it ignores everything.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
from pathlib import Path
from typing import Literal

from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.registry import Runtimes
from acpbot.sessions.pool import Pool
from acpbot.sessions.turn import Turn
from acpbot.sessions.views import Target
from tests.support.pool import make_settings

ROUNDS = 11
GRACE = 1.0


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


async def measure(mode: Literal["cgroup", "subreaper"], prompt: str) -> tuple[float, int, str]:
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
        return result.seconds, result.processes_left or 0, result.reached or "-"


def main() -> None:
    logging.disable(logging.WARNING)
    for mode in ("cgroup", "subreaper"):
        for name, prompt, goal in (
            ("obeys, tool in a session of its own", "tool echo up && exec sleep 60", 0.150),
            ("ignores everything", "ignore; say up; hang", GRACE + 0.250),
        ):
            found = [asyncio.run(measure(mode, prompt)) for _ in range(ROUNDS)]
            left = max(result[1] for result in found)
            median = statistics.median(result[0] for result in found)
            reached = {result[2] for result in found}
            figures = f"median {median * 1000:.0f} ms (<= {goal * 1000:.0f})"
            print(f"{mode}, {name}: {figures}, {left} left, reached {reached}")


if __name__ == "__main__":
    main()
