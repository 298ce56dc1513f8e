"""A pool of real demo agents on a clock that tests move."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from acpbot.runtimes.local.launcher import choose_launcher
from acpbot.sessions.launch import Profile, environment
from acpbot.sessions.observer import Limits
from acpbot.sessions.pool import AgentChoice, Pool, PoolLimits
from acpbot.sessions.thread import Workspace
from acpbot.sessions.turn import Turn

FAULTY = Path(__file__).parents[1] / "fakes" / "agents" / "faulty.py"


class Clock:
    """A monotonic clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


class Listener:
    """Collects what a turn tells."""

    def __init__(self) -> None:
        self.text = ""
        self.kinds: list[str] = []
        self.statuses: list[str] = []
        self.bodies = ""
        self.asks = []
        self.end = None
        self.running = asyncio.Event()
        self.over = asyncio.Event()
        self.tool_spoke = asyncio.Event()
        self.wants_permission = asyncio.Event()
        self.ask_outcomes = []
        self._waiting: list[tuple[str, asyncio.Event]] = []

    def on_started(self) -> None:
        self.running.set()

    def on_update(self, update) -> None:
        self.kinds.append(update.kind)
        self.statuses.append(update.body.get("status"))
        self.bodies += str(update.body)
        if update.kind == "agent_message_chunk":
            self.text += update.body["content"]["text"]
        if update.kind == "tool_call_update" and update.body.get("content"):
            self.tool_spoke.set()
        for words, event in self._waiting:
            if words in self.text or words in self.kinds or words in str(update.body.get("title")):
                event.set()

    async def sees(self, words: str) -> None:
        """Wait until the text or an update's kind or title holds these words."""
        if words in self.text or words in self.kinds:
            return
        event = asyncio.Event()
        self._waiting.append((words, event))
        await asyncio.wait_for(event.wait(), 20)

    def on_permission_request(self, ask) -> None:
        self.asks.append(ask)
        self.wants_permission.set()

    def on_permission_resolved(self, ask) -> None:
        self.ask_outcomes.append(ask.outcome)

    def on_ended(self, end) -> None:
        assert self.end is None, "a turn ends once"
        self.end = end
        self.over.set()


class ThreadEvents:
    """The chat side: what threads are told."""

    def __init__(self) -> None:
        self.endings = []
        self.stuck = []
        self.afresh = []
        self.changes = 0
        self.ended = asyncio.Event()

    def session_changed(self, _thread_id) -> None:
        self.changes += 1

    def session_ended(self, thread_id, reason, _detail, *, resumable) -> None:
        self.endings.append((thread_id, reason, resumable))
        self.ended.set()

    def session_afresh(self, thread_id) -> None:
        self.afresh.append(thread_id)

    def session_stuck(self, thread_id, activity, seconds) -> None:
        self.stuck.append((thread_id, activity, seconds))


class Harness:
    """A pool and what tests do with it."""

    def __init__(self, tmp_path, store=None, wall=None, **limits) -> None:
        self.clock = Clock()
        self.told = ThreadEvents()
        self.tmp_path = tmp_path
        session = {"grace_seconds": 2.0, **limits.pop("session", {})}
        self.agent_argv = limits.pop("argv", (sys.executable, "-m", "acpbot.demo.agent"))
        own = {"ACPBOT_DEMO_PACE": "0", **limits.pop("env", {})}
        env = environment(os.environ, (), own)
        profile = Profile(name="demo", argv=self.agent_argv, env=env, start_timeout=limits.pop("start_timeout", 20))
        self.launcher, _ = choose_launcher("auto")
        self.pool = Pool(
            agents={"demo": AgentChoice(profile=profile)},
            default_agent="demo",
            launcher=self.launcher,
            workspace=Workspace(tmp_path / "workspaces", "thread"),
            limits=PoolLimits(session=Limits(**session), **limits),
            store=store,
            clock=self.clock,
            wall=wall or self.clock,
        )
        self.pool.attach("test", self.told)

    def send(self, thread: str, text: str) -> Listener:
        listener = Listener()
        self.position = self.pool.submit(
            thread, Turn([{"type": "text", "text": text}], listener, text=text, key=text), platform="test", owner="7"
        )
        return listener

    async def turn(self, thread: str, text: str) -> Listener:
        listener = self.send(thread, text)
        await asyncio.wait_for(listener.over.wait(), 20)
        return listener

    async def tool(self, thread: str) -> Listener:
        """A turn in which a tool runs, permitted, for a minute."""
        listener = self.send(thread, "tool echo up && exec sleep 60")
        await asyncio.wait_for(listener.wants_permission.wait(), 20)
        listener.asks[0].select(next(o.option_id for o in listener.asks[0].options if o.kind == "allow_once"))
        await asyncio.wait_for(listener.tool_spoke.wait(), 20)
        return listener

    def row(self, thread: str):
        return self.pool.row(thread)


def faulty(quirk: str) -> tuple[str, ...]:
    return (sys.executable, "-S", str(FAULTY), *quirk.split(" "))
