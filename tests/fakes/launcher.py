"""Agents in memory, behind the launcher's Protocol: sound ones, and such as crash, hang, or ignore everything."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from acpbot.errors import AgentGone, AgentStartError
from acpbot.runtimes.pipes import StderrRing
from acpbot.runtimes.runtime import KillReport, ProcessInfo, exit_text

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.runtime import (
        AgentProcess,
        LaunchSpec,
        Leftover,
        LimitNotHeld,
        PlaceRef,
        Progress,
        StdoutSink,
        Usage,
    )

NATURES = {
    "sound": 12,
    "deaf": 2,
    "missing": 1,
    "dies at start": 1,
    "dies in a turn": 3,
    "dies between turns": 1,
    "knows nothing": 2,
    "silent": 1,
}
"""What an agent may be like, and how often: ``deaf`` ignores cancels, EOF and SIGTERM, ``silent`` ends no turn."""

_DELAYS = (0.0, 0.0, 0.001, 0.05, 0.5, 4.0)


class MemoryAgent:
    """One agent: an ``AgentProcess`` that answers by itself. ``heard``: its prompts' texts."""

    limits_not_held: tuple[LimitNotHeld, ...] = ()
    unseen: str | None = None
    place: str | None = None

    def __init__(self, pid: int, spec: LaunchSpec, sink: StdoutSink, nature: str, harness: MemoryLauncher) -> None:
        self.pid: int | None = pid
        self._number = pid
        self.session_id = spec.session_id
        self.thread = spec.cwd.name
        self.place_ref: PlaceRef | None = {"pid": pid, "start_time": 1, "boot_id": "this boot"}
        self.stderr = StderrRing()
        self.nature = nature
        self.returncode: int | None = None
        self._sink = sink
        self._harness = harness
        self._chance = harness.chance
        self._ended = asyncio.Event()
        self._prompts: dict[int, asyncio.Task[None]] = {}
        self._asked: dict[str, asyncio.Future[str]] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    # What the pool does with it.

    @property
    def alive(self) -> bool:
        return self.returncode is None

    @property
    def end_reason(self) -> str | None:
        return None if self.returncode is None else exit_text(self.returncode)

    def write(self, data: bytes) -> None:
        if not self.alive:
            raise AgentGone("cannot reach the agent: it has ended")
        for line in data.splitlines():
            self._later(self._take(json.loads(line)))

    def pause_reading(self) -> None:
        raise AssertionError("it says too little for that")

    def resume_reading(self) -> None:
        raise AssertionError("reading was not paused")

    def close_stdin(self, flush_seconds: float = 1.0) -> None:
        del flush_seconds
        if self.nature != "deaf":
            self._later(self._leave())

    async def wait(self) -> int:
        await self._ended.wait()
        return self.returncode or 0

    def terminate(self) -> None:
        if self.nature != "deaf":
            self.exit(-signal.SIGTERM)

    def kill(self) -> None:
        self.exit(-signal.SIGKILL)

    async def look(self) -> list[ProcessInfo]:
        await asyncio.sleep(0)
        one = ProcessInfo(
            pid=self._number,
            ppid=1,
            start_time=1,
            pgid=self._number,
            sid=self._number,
            state="S",
            command="agent",
            rss_bytes=1,
            cpu_seconds=0.0,
            age_seconds=0.0,
            is_main=True,
        )
        return [one] if self.alive else []

    async def kill_all(self, deadline_seconds: float = 5.0) -> KillReport:
        del deadline_seconds
        killed = int(self.alive)
        self.exit(-signal.SIGKILL)
        return KillReport(killed=killed, left=(), settled=True, proof="system", looks=2, seconds=0.0)

    async def aclose(self) -> None:
        self.exit(-signal.SIGKILL)

    # What it does itself.

    def exit(self, code: int) -> None:
        """End, where it has not."""
        if self.alive:
            self.returncode = code
            for task in self._tasks:
                task.cancel()
            self._ended.set()
            self._sink.eof()

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.choice(_DELAYS))

    async def _leave(self) -> None:
        await self._pause()
        self.exit(0)

    def _say(self, **message: Any) -> None:
        self._sink.data_received(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            answer = self._asked.pop(message["id"])
            if not answer.cancelled():  # its turn was
                answer.set_result(message["result"]["outcome"]["outcome"])
            return
        match message["method"]:
            case "session/prompt":
                await self._turn(message)
            case "session/cancel":
                for request, task in tuple(self._prompts.items()):
                    if self.nature not in {"deaf", "silent"}:
                        task.cancel()
                        self._say(id=request, result={"stopReason": "cancelled"})
            case "session/resume" if self.nature == "knows nothing":
                self._say(id=message["id"], error={"code": -32002, "message": "no such session"})
            case method:
                await self._pause()
                if self.nature == "dies at start" and method != "initialize":
                    self.exit(3)
                    return
                self._say(id=message["id"], result=self._answer(method, message["params"]))

    def _answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "initialize":
            return {"protocolVersion": 1, "agentCapabilities": {"sessionCapabilities": {"resume": {}}}}
        session = {"sessionId": f"acp-{self.pid}"} if method == "session/new" else {}
        self._session = session.get("sessionId") or params.get("sessionId")
        return session

    async def _ask(self, title: str) -> None:
        """Wait for a permission."""
        request = f"permission {next(self._numbers)}"
        self._asked[request] = asyncio.get_running_loop().create_future()
        options = [{"optionId": kind, "name": kind, "kind": kind} for kind in ("allow_once", "reject_once")]
        call = {"toolCallId": request, "title": title, "kind": "execute"}
        params = {"sessionId": self._session, "toolCall": call, "options": options}
        self._say(id=request, method="session/request_permission", params=params)
        await self._asked[request]

    async def _turn(self, message: dict[str, Any]) -> None:
        text = message["params"]["prompt"][0]["text"]
        self._harness.heard.setdefault(self.thread, []).append(text)
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("it runs in a task")
        self._prompts[message["id"]] = task
        try:
            content = {"type": "text", "text": text}
            update = {"sessionUpdate": "agent_message_chunk", "content": content}
            self._say(method="session/update", params={"sessionId": self._session, "update": update})
            await self._pause()
            if self._chance.random() < 0.3:
                await self._ask(text)
            if self.nature == "silent":
                await asyncio.Event().wait()
            if self.nature == "dies in a turn":
                self.exit(3)
                return
            await self._pause()
        finally:
            del self._prompts[message["id"]]
        self._say(id=message["id"], result={"stopReason": "end_turn"})
        if self.nature == "dies between turns":
            await self._leave()


@dataclass
class MemoryLauncher:
    """Launches agents by chance. ``agents``: all, oldest first; ``heard``: the prompts of each thread, in order.

    ``most`` is how many may live at once; ``broken`` are the promises of the pool that were not kept,
    ``forgotten`` the ids of threads whose place may remove what it keeps.
    """

    chance: random.Random
    most: int
    kind: str = "local"
    sample_seconds: float = 2.0
    gives_home: bool = False
    has_files_here: bool = True
    containment: str = "memory"
    environ: Mapping[str, str] = field(default_factory=dict)
    agents: list[MemoryAgent] = field(default_factory=list)
    heard: dict[str, list[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    @property
    def strays(self) -> tuple[PlaceRef, ...]:
        return ()

    def environment(self, settings: AgentSettings, home: Path | None) -> dict[str, str]:
        del home
        return dict(settings.env)

    def sees_programs(self, argv: Sequence[str]) -> bool:
        del argv
        return True

    async def check(self, settings: AgentSettings) -> tuple[str, ...]:
        del settings
        return ()

    async def leftovers(self, stored: object, live: object) -> tuple[Leftover, ...]:
        del stored, live
        return ()

    def living(self) -> list[MemoryAgent]:
        return [agent for agent in self.agents if agent.alive]

    async def launch(self, spec: LaunchSpec, stdout: StdoutSink, progress: Progress) -> AgentProcess:
        del progress
        await asyncio.sleep(self.chance.choice(_DELAYS))
        nature = self.chance.choices(list(NATURES), list(NATURES.values()))[0]
        if nature == "missing":
            raise AgentStartError("cannot start the agent: there is none")
        living = self.living()
        if len(living) >= self.most:
            self.broken.append(f"{spec.cwd.name} is started, and {len(living)} live")
        if any(agent.thread == spec.cwd.name for agent in living):
            self.broken.append(f"{spec.cwd.name} is started, and one runs already")
        # Such a pid there can't be (proc_sys_kernel(5), pid_max).
        agent = MemoryAgent(10_000_000 + len(self.agents), spec, stdout, nature, self)
        self.agents.append(agent)
        return agent

    async def sample(self, processes: Iterable[AgentProcess]) -> dict[str, Usage]:
        del processes
        return {}

    async def forget(self, thread_id: str) -> None:
        self.forgotten.append(thread_id)

    async def aclose(self) -> None:
        for agent in self.living():
            agent.exit(-signal.SIGKILL)
