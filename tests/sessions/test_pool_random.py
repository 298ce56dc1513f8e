"""The pool under random actions of people, operators, agents and the clock, in virtual time: its promises hold."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from acpbot.errors import TooMany
from acpbot.runtimes.registry import Runtimes
from acpbot.sessions.pool import Pool
from acpbot.sessions.turn import PermissionRequest, Turn, TurnEnd
from acpbot.sessions.views import Row, Target
from tests.fakes.launcher import MemoryLauncher
from tests.fakes.virtual_time import VirtualTimeLoop
from tests.support.pool import ThreadEvents, make_settings

SEEDS = int(os.environ.get("ACPBOT_SEEDS", "20"))
STEPS = 400
THREADS = [f"100{number}" for number in range(5)]
PAUSES = (0, 0, 0, 0.001, 0.02, 0.3, 2, 40)


class RecordedTurn:
    """A turn's listener."""

    def __init__(self) -> None:
        self.ends: list[TurnEnd] = []
        self.text = ""
        self.order: list[str] = []
        self.open: list[PermissionRequest] = []

    def on_started(self) -> None:
        self.order.append("started")

    def on_update(self, update) -> None:
        assert not self.ends
        self.text += update.body["content"]["text"]

    def on_permission_request(self, ask) -> None:
        self.open.append(ask)

    def on_permission_resolved(self, ask) -> None:
        assert ask.outcome is not None
        self.open.remove(ask)

    def on_question(self, question) -> None:
        pass

    def on_question_closed(self, question) -> None:
        pass

    def on_permission_note(self, note) -> None:
        assert not self.ends, note

    def on_ended(self, end) -> None:
        assert not self.open, "no permission is open after the turn"
        self.ends.append(end)


class Play:
    """A pool, and what is done to it."""

    def __init__(self, folder, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - it chooses what a test does
        self.most = self.chance.randint(1, 4)
        self.launcher = MemoryLauncher(self.chance, self.most)
        self.turns: dict[str, list[tuple[str, RecordedTurn]]] = {}
        self.kills: list[asyncio.Task] = []
        self.resets: list[asyncio.Task] = []
        settings = make_settings(
            folder,
            grace_seconds=2,
            stuck_after_seconds=60,
            max_queued=4,
            max_sessions=self.most,
            idle_timeout_seconds=100,
            turn_timeout_seconds=300,
            on_stuck=self.chance.choice(["notify", "cancel", "kill"]),
            start_timeout_seconds=30,
        )
        clock = asyncio.get_running_loop().time
        self.pool = Pool(settings, runtimes=Runtimes(self.launcher, daemon_id="test"), clock=clock, wall=clock)
        self.pool.attach("test", ThreadEvents())
        self.watched: dict[str, Row] = {}
        self.pool.subscribe(self._watch)

    def _watch(self, change, row) -> None:
        """Follow the rows as somebody does who never asks again."""
        if change == "changed":
            self.watched[row.thread_id] = row
        else:
            self.watched.pop(row.thread_id, None)

    def write(self, thread: str) -> None:
        number = sum(map(len, self.turns.values()))
        recorded, text = RecordedTurn(), f"{thread}-{number}"
        turn = Turn([{"type": "text", "text": text}], recorded, text=text, key=text)
        try:
            self.pool.submit(thread, turn, platform="test")
        except TooMany:
            return
        self.turns.setdefault(thread, []).append((text, recorded))

    def kill(self, thread: str) -> None:
        rows = [row for row in self.pool.rows() if row.thread_id == thread]
        targets = [Target(thread_id=thread, session_id=row.session_id or "") for row in rows]
        grace = self.chance.choice([None, 0, 0.5, 20])
        killing = self.pool.kill(targets, grace_seconds=grace, forget=self.chance.random() < 0.2)
        self.kills.append(asyncio.ensure_future(killing))

    async def cancel(self, thread: str) -> None:
        if self.pool.thread(thread) is not None:
            assert await self.pool.cancel(thread) in {"cancelled", "idle"}

    def withdraw(self, thread: str) -> None:
        waiting = [text for text, recorded in self.turns.get(thread, []) if not recorded.ends]
        if waiting:
            self.pool.withdraw(thread, self.chance.choice(waiting))

    async def start_over(self, thread: str) -> None:
        if self.pool.thread(thread) is not None:
            self.resets.append(asyncio.ensure_future(self.pool.start_over(thread)))

    def answer(self, thread: str) -> None:
        for _, recorded in self.turns.get(thread, []):
            for ask in tuple(recorded.open):
                ask.select(self.chance.choice(ask.options).option_id)

    async def step(self) -> None:
        thread = self.chance.choice(THREADS)
        what = self.chance.choices(
            ["write", "kill", "cancel", "withdraw", "answer", "tick", "reset"], [10, 2, 2, 1, 4, 3, 1]
        )[0]
        if what == "write":
            self.write(thread)
        elif what == "kill":
            self.kill(thread)
        elif what == "cancel":
            await self.cancel(thread)
        elif what == "withdraw":
            self.withdraw(thread)
        elif what == "answer":
            self.answer(thread)
        elif what == "reset":
            await self.start_over(thread)
        else:
            self.pool.tick()
        await asyncio.sleep(self.chance.choice(PAUSES))
        counts = self.pool.counts()
        rows = self.pool.rows()
        assert counts.sessions == len(rows) == len({row.thread_id for row in rows})
        assert sorted(map(_lasting, self.watched.values())) == sorted(map(_lasting, rows))
        shown = {row.session_id: row for row in rows}
        for agent in self.launcher.living():
            row = shown.get(agent.session_id)  # a thread whose session is closing may have the next one's row
            assert row is None or (row.alive and row.pid == agent.pid)

    async def settle(self) -> None:
        """Let everything end that does so by itself, and by the limits of time."""
        async with asyncio.timeout(100_000):
            while any(not recorded.ends for turns in self.turns.values() for _, recorded in turns):
                await asyncio.sleep(1)
                self.pool.tick()
            await asyncio.gather(*self.kills, *self.resets)

    def judge(self) -> None:
        assert self.launcher.broken == []
        for thread, turns in self.turns.items():
            heard = self.launcher.heard.get(thread, [])
            assert len(heard) == len(set(heard)), "no prompt is sent twice"
            taken = [text for text, _ in turns]
            assert heard == [text for text in taken if text in set(heard)], "prompts are sent in their order"
            for text, recorded in turns:
                assert len(recorded.ends) == 1, f"{text} ends once"
                end = recorded.ends[0]
                if end.stop_reason == "end_turn":
                    assert recorded.text == text
                assert recorded.order == ["started"] or (not recorded.order and text not in heard)
                assert bool(end.error) or end.stop_reason != "error", "an error says why"
        for task in self.kills:
            assert all(one.processes_left == 0 and one.outcome != "failed" for one in task.result())


def _lasting(row):
    """What changes only with an event."""
    state = "busy" if row.state == "stuck" else row.state
    waiting = row.waiting_for or ""
    return row.thread_id, row.session_id, state, waiting, row.queued, row.turns, row.pid or 0, row.acp_session_id or ""


async def play(folder, seed: int) -> Play:
    one = Play(folder, seed)
    for _ in range(STEPS):
        await one.step()
    if one.chance.random() < 0.5:
        await one.settle()
    await one.pool.close(grace_seconds=1)
    await asyncio.gather(*one.kills, *one.resets)
    assert one.launcher.living() == []
    assert one.pool.rows() == []
    return one


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_pool_keeps_its_promises(tmp_path, seed):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        one = runner.run(play(tmp_path, seed))
    one.judge()
    ends = [recorded.ends[0].stop_reason for turns in one.turns.values() for _, recorded in turns]
    assert "end_turn" in ends
