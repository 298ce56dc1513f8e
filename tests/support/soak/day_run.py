"""Runs the recorded day from its first message to its last, and gives what was seen and what was wrong."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.fakes.discord import rest
from tests.fakes.discord.server import DiscordServer
from tests.fakes.model_server import ModelServer
from tests.support.agent_stack import Gate
from tests.support.real_agents import ASKING, installed, recipe
from tests.support.soak import day_afternoon, day_controls, day_morning
from tests.support.soak.day import Day, Prompt
from tests.support.soak.day_agents import RealAgent, configuration
from tests.support.soak.day_checks import findings
from tests.support.soak.day_page import page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from pathlib import Path

    from tests.fakes.discord.state import User

AT_ONCE = 8
"""Scenes of the morning that run at a time."""
REAL = ("codex", "opencode", "codex-newest", "claude-newest")
BLOCKED = {"message": "Message blocked by harmful links filter", "code": 240000}


class Recorded(NamedTuple):
    """A day that is over: each thread as text, what was wrong, and how much there was."""

    pages: list[str]
    findings: list[str]
    prompts: list[Prompt]
    requests: int
    seconds: float


async def record(folder: Path, *, seed: int = 1, real: bool = False, only: str | None = None) -> Recorded:
    """Run the day in this folder. ``only``: the scenes whose name contains this."""
    began, failed = time.monotonic(), list[str]()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(DiscordServer())
        day = Day(server, folder)
        stack.callback(day.close)
        agents = await _real_agents(stack, folder) if real else {}
        bound = {"builder": day.builder, "writer": day.writer, "helper": day.helper, "clerk": day.clerk}
        place = folder / "project"
        place.mkdir(parents=True)

        def config(*, people: Sequence[User] = day.people, **more: Any) -> str:
            return configuration(server, people, day.ada, bound, project=(day.project, place), real=agents, **more)

        for method, route in (("POST", rest.MESSAGES), ("PATCH", rest.MESSAGE)):
            faults = server.faults
            faults.status(400, method, route, body=BLOCKED, times=1 << 30, where=_is_blocked)
        await day.start(config())
        chance = random.Random(seed)  # noqa: S311 - it orders what a test does
        scenes = (*day_morning.SCENES, *day_controls.SCENES)
        morning = [one for one in scenes if only is None or only in one.__name__]
        chance.shuffle(morning)
        places = asyncio.Semaphore(AT_ONCE)

        async def scene(name: str, work: Awaitable[None]) -> None:
            async with places:
                try:
                    await work
                except (AssertionError, LookupError) as error:
                    failed.append(f"{name}: {str(error).splitlines()[0]}")

        await asyncio.gather(*(scene(one.__name__, one(day)) for one in morning))
        if agents:
            await asyncio.gather(*(scene(name, _real_turn(day, name)) for name in agents))
        for one in day_afternoon.SCENES:
            if only is None or only in one.__name__:
                await scene(one.__name__, one(day, config))
        status = await day.stop()
        if status:
            failed.append(f"the daemon ended with status {status}")
        places_seen = [one for one in server.world.channels.values() if one.messages]
        pages = [page(server, one) for one in places_seen]
        return Recorded(pages, failed + findings(day), day.prompts, len(server.requests), time.monotonic() - began)


def _is_blocked(call: Any) -> bool:
    return isinstance(call.body, dict) and "harmful.example" in str(call.body.get("content"))


async def _real_agents(stack: AsyncExitStack, folder: Path) -> dict[str, RealAgent]:
    """The real agents that are installed: command, variables, mode."""
    model = await stack.enter_async_context(ModelServer())
    gate = await stack.enter_async_context(Gate())
    return {
        name: (*recipe(name, folder / "homes" / name, model.base_url, gate.url), ASKING.get(name))
        for name in REAL
        if installed(name) is not None
    }


async def _real_turn(day: Day, name: str) -> None:
    """A command that the agent explains, asks for and runs, then another one that is rejected."""
    verb = "escalate" if name == "codex-newest" else "explain"  # its sandbox lets nothing be written
    prompt = day.says(day.ada, day.general, f"agent: {name} {verb} touch made")
    asked = await day.sees_buttons(prompt)
    await day.presses(day.ada, asked, "allow")
    await day.answered(prompt, "The tool said")
    thread = await day.thread_of(prompt)
    await day.asks(day.bob, thread, f"say {name} is fine", f"{name} is fine")
