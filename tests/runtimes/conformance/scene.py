"""One runtime with its agents, as the tests use them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acpbot.runtimes.runtime import LaunchSpec
from tests.runtimes.conformance import agent as agent_program
from tests.runtimes.conformance import outside
from tests.support.launched_agents import Sink

if TYPE_CHECKING:
    from pathlib import Path

    from acpbot.runtimes.runtime import AgentProcess, Runtime
    from tests.runtimes.conformance.places import Place

LIMIT = 30.0
FAMILY = 5
"""How many processes an agent is together with the `family` that it has started."""

_numbers = itertools.count(1)


@dataclass
class Agent:
    """A running agent of the suite. ``word``: how its processes are found from outside."""

    process: AgentProcess
    sink: Sink
    word: str

    async def ask(self, line: str) -> str:
        """Write a line; return the agent's answer."""
        self.process.write(line.encode() + b"\n")
        return await self.sink.line()

    async def around(self) -> dict[str, Any]:
        """What its place is like."""
        return json.loads(await self.ask("around"))

    async def ended(self) -> int:
        """The exit code, once it has ended."""
        async with asyncio.timeout(LIMIT):
            return await self.process.wait()

    def pids(self) -> set[int]:
        """What a look from outside finds of it."""
        return outside.pids_with(self.word)


class Scene:
    """Starts agents in one place, each in a session, a workspace and a HOME of its own."""

    def __init__(self, place: Place, runtime: Runtime, folder: Path) -> None:
        self.place = place
        self.runtime = runtime
        self.folder = folder
        self.agents: list[Agent] = []
        self.told: list[str] = []
        """What the starts have said for people."""

    def spec(self, word: str, **more: Any) -> LaunchSpec:
        """What starts the agent of the suite, with its program in its workspace; ``more`` replaces fields."""
        settings = self.place.settings(**more.pop("settings", {}))
        arguments = more.pop("arguments", ())
        folder = self.folder / word
        workspace, home = more.pop("cwd", folder / "workspace"), folder / "home"
        workspace.mkdir(parents=True, exist_ok=True)
        home.mkdir(parents=True, exist_ok=True)
        program = workspace / "agent.py"
        shutil.copyfile(agent_program.__file__, program)
        thread_id = f"thread-of-{word}"
        self.place.prepare(thread_id, workspace, home)
        fields = {
            "argv": (settings.command, "-S", "-E", str(program), word, *arguments),
            "cwd": workspace,
            "env": self.runtime.environment(settings, home),
            "session_id": word,
            "thread_id": thread_id,
            "home": home if self.runtime.gives_home else None,
            **self.place.tables,
            **more,
        }
        return LaunchSpec(**fields)

    async def start(self, **more: Any) -> Agent:
        """Start an agent."""
        word = more.pop("word", None) or new_word()
        sink = Sink()
        async with asyncio.timeout(LIMIT):
            process = await self.runtime.launch(self.spec(word, **more), sink, self.told.append)
        agent = Agent(process, sink, word)
        self.agents.append(agent)
        return agent

    async def aclose(self) -> None:
        """End all agents; nothing of them is left."""
        for agent in self.agents:
            await agent.process.aclose()
        for agent in self.agents:
            await self.assert_nothing_is_left(agent.word)

    async def assert_nothing_is_left(self, word: str) -> None:
        """Look from outside: neither a process nor a container is there."""
        assert outside.pids_with(word) == set()
        assert await asyncio.to_thread(outside.containers_with, self.place, word) == []


def new_word() -> str:
    """A session id that no other test has."""
    return f"suite-{os.getpid()}-{next(_numbers)}"
