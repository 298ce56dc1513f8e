"""Every REST call that the bot makes, met by every fault: the effect on the turn, as a table.

Run it: ``python -m tests.support.fault_campaign``. Each column is a Discord of its own in which all rows happen
at once, each in a channel of its own, with its fault on its call there and nowhere else. A cell says:

- ``answered``: everything is delivered as without the fault, and once;
- ``reported``: the person reads that it does not, or that it may be there twice;
- ``survived``: something that is not the answer is missing (a reaction, a name, a note); the next message is answered.

Outcomes in capitals are failures.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acpbot.chat.discord.outbound.channel_queue import MAY_BE_TWICE
from tests.chat.discord.inbound.test_backfill import away
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged
from tests.support.fault_campaign_case import WAIT_SECONDS, Case, Outcome, arrange
from tests.support.fault_campaign_rows import ROWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.discord.faults import Fault

FAULTS = (
    *("500 before", "500 after", "503", "dropped", "dropped after"),
    *("403", "404", "429", "empty 502", "garbled after"),
)
AT_START = {("GET", rest.ME), ("GET", rest.APPLICATION), ("PUT", rest.COMMANDS)}
AFTER_AN_OUTAGE = {("GET", rest.MESSAGES)}


# The calls that are made once a connection, and the one that takes a long outage.


@asynccontextmanager
async def at_start(tmp_path: Path, fault: str, met: list[Fault]) -> AsyncIterator[Scene]:
    def refuse(server: Any) -> None:
        for method, route in AT_START:
            met.append(arrange(server.faults, fault, method, route, lambda _call: True))

    async with staged(tmp_path, faults=refuse, registered=False) as scene:
        yield scene


async def starting(tmp_path: Path, fault: str) -> dict[str, Outcome]:
    """Logging in, and telling Discord of the commands."""
    met: list[Fault] = []
    async with at_start(tmp_path, fault, met) as scene:
        thread = await scene.opens("say hello")
        await scene.idle(thread, 1)
        outcome = "answered" if scene.text(thread) == "hello" else "LOST"
        put = scene.server.requests_to
        await scene.server.wait_for(lambda: [c for c in put("PUT", rest.COMMANDS) if c.finished], seconds=WAIT_SECONDS)
        if fault not in {"403", "404"}:
            await scene.server.wait_for(scene.server.commands, seconds=WAIT_SECONDS, what="the commands")
        commands = "answered" if scene.server.commands() else "survived"
        assert all(one.hits for one in met), "each call has met its fault"
    return {"log in": outcome, "learn the application": outcome, "register the commands": commands}


async def looking(tmp_path: Path, fault: str) -> dict[str, Outcome]:
    """A message that may have been made, so long ago that Discord has forgotten its nonce: we search the channel."""
    async with staged(tmp_path) as scene:
        thread = await scene.opens("say first")
        await scene.idle(thread, 1)
        scene.ada.says(thread, "tool true; edit")
        session = scene.pool.get(str(thread.id))
        assert session is not None
        await scene.server.wait_for(lambda: session.permission_requests.open, what="a question")
        await scene.server.wait_for_message(thread, lambda one: one.asks)
        lost = scene.server.faults.status(503, "POST", rest.MESSAGES, when="after", held=True)
        look = arrange(scene.server.faults, fault, "GET", rest.MESSAGES, lambda _call: True)
        scene.server.gateway.refuse()  # else it would report the message
        scene.server.gateway.cut()
        next(iter(session.permission_requests.open.values())).select("allow-once")
        await asyncio.wait_for(lost.arrived.wait(), WAIT_SECONDS)
        scene.clock.ahead += 200
        scene.server.channels.nonces.clear()
        lost.release()
        await scene.idle(thread, 2)
        assert look.hits, "the call has met its fault"
        scene.server.gateway.accept()
        text = scene.text(thread)
        twice: Outcome = "reported" if text.count(MAY_BE_TWICE) == 1 else "TWICE"
        counts = [text.count(words) for words in ("The command completed", "```diff")]
    return {"look for a lost message": "LOST" if 0 in counts else twice if 2 in counts else "answered"}


async def missing(tmp_path: Path, fault: str) -> dict[str, Outcome]:
    """What was written while there was no gateway session is read in the channel."""
    async with staged(tmp_path) as scene:
        thread = await scene.opens("say first")
        await scene.idle(thread, 1)
        here = str(thread.id)
        async with away(scene):
            scene.ada.says(thread, "say missed")
            faults = scene.server.faults
            read = arrange(faults, fault, "GET", rest.MESSAGES, lambda call: call.params["channel_id"] == here)
        scene.ada.says(thread, "say heard")
        await scene.says(thread, "heard", seconds=WAIT_SECONDS)
        assert read.hits, "the call has met its fault"
        said = [one.content for one in scene.bodies(thread) if "Queued" not in one.content]
        in_order = said in (["first", "missed", "heard"], ["first", "heard"])
    return {"read what was missed": ("survived", "answered", "TWICE")[said.count("missed")] if in_order else "LOST"}


async def column(tmp_path: Path, fault: str) -> dict[str, Outcome]:
    """Every call, met by this fault."""
    loud = Loud()
    logging.getLogger().addHandler(loud)
    try:
        limits = {"max_sessions": 2 * len(ROWS), "grace_seconds": 1.0}
        # Three seconds for an answer are little where all happens at once, on a machine that has other things to do.
        async with staged(
            tmp_path / "all", unit=0.02, limits=limits, prompt=0.5, interaction_seconds=WAIT_SECONDS
        ) as scene:
            cases = {name: Case(scene, fault, name) for name in ROWS}
            outcomes = await asyncio.gather(*(ROWS[name](case) for name, case in cases.items()))
            for name, case in cases.items():
                assert sum(fault.hits for fault in case.met), f"{name} has met its fault"
            message = scene.asks("say and on we go")
            thread = await scene.server.wait_for(lambda: message.thread)
            await scene.says(thread, "and on we go")
            made = {(call.method, call.route) for call in scene.server.requests}
            covered = {(fault.method, fault.route) for case in cases.values() for fault in case.met}
            covered |= AT_START | AFTER_AN_OUTAGE
            assert made <= covered, f"calls without a row: {made - covered}"
        found = dict(zip(ROWS, outcomes, strict=True))
        found |= await starting(tmp_path / "start", fault)
        found |= await looking(tmp_path / "look", fault)
        found |= await missing(tmp_path / "miss", fault)
    finally:
        logging.getLogger().removeHandler(loud)
    assert loud.heard == [], f"no defect was logged: {loud.heard}"
    return found


class Loud(logging.Handler):
    """What is logged as a defect: a traceback, or anything of a level above a warning."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno > logging.WARNING:
            self.heard.append(f"{record.name}: {record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


def table(columns: dict[str, dict[str, Outcome]]) -> str:
    """As plain text: calls down, faults across."""
    names = list(next(iter(columns.values())))
    width = max(map(len, names))
    lines = ["  ".join([" " * width, *(f"{fault:13}" for fault in columns)]).rstrip()]
    for name in names:
        cells = (f"{found[name]:13}" for found in columns.values())
        lines.append("  ".join([f"{name:{width}}", *cells]).rstrip())
    counts = Counter(outcome for found in columns.values() for outcome in found.values())
    return "\n".join([*lines, "", ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())])


async def _main() -> int:
    columns = {}
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            columns[fault] = await column(Path(folder), fault)
    print(table(columns))
    return int(any(outcome.isupper() for found in columns.values() for outcome in found.values()))


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
