"""acpbot beside another gateway: the same loopback Discord, the same model server, the same answers."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import gateways
from tests.benchmarks.gateways import Play
from tests.benchmarks.peer_play import NEVER, Figures, Scene, answer
from tests.benchmarks.rows import Row, missing
from tests.fakes.discord.server import DiscordServer
from tests.fakes.model_server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.benchmarks.gateways import Gateway
    from tests.benchmarks.rows import Result, Size

PACE = 0.01
"""Seconds between two words of the model."""
LINES = 36
"""So an answer has about 4,000 characters."""
MEASURED: tuple[tuple[str, str, str, Callable[[Figures], float]], ...] = (
    ("start", "start until connected", "s", lambda found: found.start),
    ("sign", "new thread: first sign of life", "ms", lambda found: 1000 * found.first.sign),
    ("text", "new thread: first text of the answer", "s", lambda found: found.first.text),
    ("text.second", "second new thread: first text of the answer", "s", lambda found: found.another.text),
    ("text.follow", "same thread again: first text of the answer", "s", lambda found: found.second.text),
    ("after", "whole answer visible after the model's last word", "ms", lambda found: 1000 * found.first.after),
    ("requests", "requests for one answer", "requests", lambda found: found.first.requests),
    ("ten.whole", "ten threads at once: last answer whole", "s", lambda found: max(one.whole for one in found.ten)),
    (
        "ten.after",
        "ten threads at once: whole after the last word, at worst",
        "s",
        lambda found: max(one.after for one in found.ten),
    ),
    ("ten.requests", "ten threads at once: requests", "requests", lambda found: found.ten_requests),
    ("idle", "memory with all processes, idle", "MiB", lambda found: found.idle),
    ("busy", "memory with all processes, ten threads", "MiB", lambda found: found.busy),
    ("cut", "gateway cut while a person writes: whole answer after it is back", "s", lambda found: found.after_cut),
    (
        "kill",
        "killed in an answer: the thread shows what became of it, after the start",
        "s",
        lambda found: found.after_kill,
    ),
    (
        "kill.message",
        "killed: a message written meanwhile is answered, after the start",
        "s",
        lambda found: found.while_dead,
    ),
)
NONE_ALLOWED: tuple[tuple[str, str, str, Callable[[Figures], float]], ...] = (
    ("limited", "answers of 429 to the requests of one answer", "requests", lambda found: found.first.limited),
    ("ten.limited", "ten threads at once: answers of 429", "requests", lambda found: found.ten_limited),
    (
        "lines",
        "lines of an answer lost, doubled, moved or in the wrong kind of block",
        "lines",
        lambda found: found.first.wrong_lines,
    ),
    ("ten.lines", "ten threads at once: such lines", "lines", lambda found: sum(one.wrong_lines for one in found.ten)),
    (
        "fences",
        "messages with a block of code that is not closed",
        "messages",
        lambda found: found.first.open_fences + sum(one.open_fences for one in found.ten),
    ),
    ("orphans", "killed: processes of it that run on a second later", "processes", lambda found: found.orphans),
)


async def play(make: type[Gateway], folder: Path, size: Size) -> Figures:
    """Have one gateway do all of it once."""
    texts = {f"a{number}": answer(number, size.pick(LINES, 12)) for number in range(20)}
    figures = Figures()
    async with DiscordServer() as discord, ModelServer(texts, pace=PACE) as model:
        guild = discord.make_guild("home")
        channel = discord.make_channel(guild, "general")
        person = discord.make_user("ada", guild)
        stage = Play(discord, model, str(person.id), str(channel.id))
        gateway = make(folder, stage)
        scene = Scene(gateway, stage, channel, person)
        try:
            figures.start = await scene.start()
            await scene.quiet()
            figures.idle = gateways.memory(gateway.pid)
            await scene.warm_up()
            figures.first, message = await scene.answered("a0")
            figures.second, _ = await scene.answered("a1", scene.place(message))
            figures.another, _ = await scene.answered("a2")
            await scene.ten([f"a{number}" for number in range(3, size.pick(13, 6))], figures)
            figures.after_cut = await scene.cut("a13", scene.place(message), size.pick(20.0, 3.0))
            await scene.quiet()
            await scene.killed("a14", "a15", figures)
        finally:
            gateway.stop()
    return figures


def results(size: Size) -> Iterator[Result]:
    makes, why = gateways.installed()
    found: dict[str, list[Figures]] = {make.name: [] for make in makes}
    with tempfile.TemporaryDirectory() as name:
        for number in range(size.rounds):
            for make in makes:
                figures = asyncio.run(play(make, Path(name) / f"{make.name}{number}", size))
                print(make.name, figures, file=sys.stderr, flush=True)
                found[make.name].append(figures)
    mine = found.pop(gateways.Acpbot.name)
    (peer, theirs) = next(iter(found.items()), ("", []))
    for key, what, unit, figure in MEASURED:
        yield Row(
            key=f"peers.{key}",
            what=what,
            unit=unit,
            runs=tuple(figure(one) for one in mine),
            peer=peer,
            peer_runs=tuple(figure(one) for one in theirs),
            judged="ratio" if theirs else "value",
            goal=1.0 if theirs else None,
            note=_never(peer, [figure(one) for one in theirs], unit),
        )
    for key, what, unit, figure in NONE_ALLOWED:
        yield Row(
            key=f"peers.{key}",
            what=what,
            unit=unit,
            runs=tuple(float(figure(one)) for one in mine),
            peer=peer,
            peer_runs=tuple(float(figure(one)) for one in theirs),
            goal=0.0,
        )
    if why:
        yield missing("peers", "another gateway on the same loopback Discord", why)


def _never(peer: str, runs: list[float], unit: str) -> str:
    """Say what a figure of this size means."""
    most = {"s": NEVER, "ms": NEVER * 1000}.get(unit)
    never = most is not None and bool(runs) and statistics.median(runs) >= most
    return f"{peer}: not within the time that was waited" if never else ""
