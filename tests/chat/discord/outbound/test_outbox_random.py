"""The delivery under random outages, lost answers and restarts of the daemon at any moment, in virtual time.

Each message of the bot's is delivered once, with its last text, in order; retracted ones are deleted.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import pytest

from acpbot.aio import Backoff
from acpbot.chat.discord.outbound.outbox import Outbox
from acpbot.storage.store import Store
from tests.fakes.discord.memory_rest import ME, MemoryRest
from tests.fakes.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from acpbot.chat.discord.outbound.post import OnRestart, Post

SEEDS = int(os.environ.get("ACPBOT_SEEDS", "20"))
STEPS = 300
CHANNELS = ("100", "200", "300")
EMOJIS = ("👀", "🤔", "🔥", "👨‍💻", "🆗")
PAUSES = (0, 0, 0, 0.01, 0.1, 1, 5, 60)
UNIX = 1_790_000_000.0


class MemoryStore(Store):
    """The table of posts: what a step of the loop writes gets on disk whole, in order, some time later."""

    def __init__(self, chance: random.Random, kept: dict) -> None:
        super().__init__()
        self.kept = kept
        self.ever = set(kept)
        self._chance = chance
        self._step: list = []
        self._steps: deque[list] = deque()
        self._written = asyncio.Condition()
        self._work = asyncio.Event()
        self._writer = asyncio.create_task(self._write_for_ever())

    def save_post(self, record) -> None:
        self._add(record.nonce, record)

    def post_settled(self, nonce: str) -> None:
        self._add(nonce, None)

    def _add(self, nonce: str, record) -> None:
        if not self._step:
            asyncio.get_running_loop().call_soon(self._end_step)
        self._step.append((nonce, record))

    def _end_step(self) -> None:
        self._steps.append(self._step)
        self._step = []
        self._work.set()

    async def durable(self) -> None:
        await asyncio.sleep(0)
        async with self._written:
            await self._written.wait_for(lambda: not self._steps)

    async def _write_for_ever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._steps:
                await asyncio.sleep(self._chance.choice((0, 0.001, 0.05, 3)))
                self._apply(self._steps.popleft())
            async with self._written:
                self._written.notify_all()

    def _apply(self, step: list) -> None:
        for nonce, record in step:
            before = self.kept.get(nonce)
            if record is None:
                self.kept.pop(nonce, None)
            elif before is None:
                self.kept[nonce] = record
                self.ever.add(nonce)
            else:
                names = ("fate", "content", "components", "message_id", "sent")
                changed = {name: getattr(record, name) for name in names}
                self.kept[nonce] = msgspec.structs.replace(before, **changed)

    def die(self) -> dict:
        """The end of a run; what was being written is on disk, or not."""
        self._writer.cancel()
        for _ in range(self._chance.randint(0, len(self._steps))):
            self._apply(self._steps.popleft())
        return self.kept


@dataclass
class Wanted:
    """A post, how many messages it must become, and their text (``None``: any)."""

    post: Post
    channel: str
    growing: bool
    run: int
    often: tuple[int, ...] = (1,)
    words: str | None = None
    parts: int = 0
    over: bool = False


@dataclass
class Play:
    """People, an outbox in one run after the other, and Discord."""

    chance: random.Random
    wanted: list[Wanted] = field(default_factory=list)
    emojis: dict[str, list[str]] = field(default_factory=dict)
    run: int = 0

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.rest = MemoryRest(self.chance, lambda: UNIX + loop.time(), self._made, self._gone)
        self.broken: list[str] = []
        self._begin({})

    def _begin(self, kept: dict) -> None:
        loop = asyncio.get_running_loop()
        left = list(kept.values())
        self.store = MemoryStore(self.chance, kept)
        self.outbox = Outbox(
            self.rest,
            Backoff(),
            own_id=lambda: ME,
            store=self.store,
            clock=loop.time,
            wall=lambda: UNIX + loop.time(),
        )
        self.outbox.recover(left)

    def _gone(self, nonce: str) -> None:
        if nonce in self.store.kept and self.store.kept[nonce].fate == "deliver":
            self.broken.append(f"{nonce} was deleted, and the next run would deliver it")

    def _made(self, nonce: str, message_id: str) -> None:
        if nonce not in self.store.ever:
            self.broken.append(f"{nonce} was made, and the next run would not know of it")
        if self.chance.random() < 0.5:  # the gateway reports it, if it is there
            loop = asyncio.get_running_loop()
            loop.call_later(self.chance.choice((0, 0.1, 3)), lambda: self.outbox.confirm(nonce, message_id))

    # What happens.

    def say(self, channel: str) -> None:
        text = f"{len(self.wanted)} said"
        choices: list[OnRestart] = ["deliver", "deliver", "retract"]
        on_restart = self.chance.choice(choices)
        post = self.outbox.post(channel, text, on_restart=on_restart)
        often, words = ((1,), text) if on_restart == "deliver" else ((0, 1), None)
        self.wanted.append(Wanted(post, channel, growing=False, run=self.run, often=often, words=words))

    def answer(self, channel: str) -> None:
        text = f"{len(self.wanted)} answer"
        post = self.outbox.post(channel, text, on_restart="leave")
        self.wanted.append(Wanted(post, channel, growing=True, run=self.run, words=text))

    def _any(self, channel: str, **which) -> Wanted | None:
        fits = [
            one
            for one in self.wanted
            if one.channel == channel and one.run == self.run and not one.over and vars(one).items() >= which.items()
        ]
        return self.chance.choice(fits) if fits else None

    def grow(self, channel: str) -> None:
        one = self._any(channel, growing=True)
        if one is not None:
            one.parts += 1
            one.words = f"{one.words} {one.parts}"
            words = one.words
            self.outbox.queue(channel).refresh(lambda: None if one.over else one.post.show(words))

    def conclude(self, channel: str) -> None:
        one = self._any(channel, growing=True)
        if one is not None:
            one.words = f"{one.words} end"
            one.over = True
            words = one.words
            self.outbox.queue(channel).refresh(lambda: one.post.show(words, last=True), urgent=True)
            asyncio.get_running_loop().call_soon(self.outbox.queue(channel).bring_up_to_date)

    def retract(self, channel: str) -> None:
        one = self._any(channel)
        if one is not None:
            one.over, one.often, one.words = True, (0,), None
            one.post.retract()

    def react(self, channel: str) -> None:
        key = f"{channel}-{self.run}-{self.chance.randint(0, 2)}"
        shown = self.emojis.setdefault(key, [])
        emoji = self.chance.choice(EMOJIS)
        if emoji not in shown:
            self.outbox.react(channel, key, emoji, add=True)
        for other in shown:
            if other != emoji:
                self.outbox.react(channel, key, other, add=False)
        shown[:] = [emoji]

    def weather(self, channel: str) -> None:
        self.rest.out = not self.rest.out and self.chance.random() < 0.5
        if not self.rest.out:
            self.outbox.wake_retries()
        if self.chance.random() < 0.3:
            self.rest.archive(channel)

    async def die(self) -> None:
        kept = self.store.die()
        ever, done = self.store.ever, set(self.store.ever) - set(kept)
        await self.outbox.close()
        for one in self.wanted:
            nonce = one.post.nonce
            if one.run != self.run:
                continue
            if nonce in done:  # it is delivered; that it is retracted may not be on disk yet
                one.often = one.often if one.often != (0,) else (0, 1)
                continue
            if nonce not in ever:
                one.often, one.words = (0,), None
                continue
            record = kept[nonce]
            if record.fate == "deliver":
                one.often, one.words = (1,), record.content
            else:
                one.often, one.words = (0, 1) if record.fate == "leave" else (0,), None
        self.emojis.clear()
        self.run += 1
        await asyncio.sleep(self.chance.choice(PAUSES))
        self._begin(kept)

    async def step(self) -> None:
        channel = self.chance.choice(CHANNELS)
        acts = (self.say, self.answer, self.grow, self.conclude, self.retract, self.react, self.weather)
        self.chance.choices(acts, [4, 2, 8, 2, 1, 4, 1])[0](channel)
        await asyncio.sleep(self.chance.choice(PAUSES))
        if self.chance.random() < 0.02:
            await self.die()

    async def settle(self) -> None:
        """End all faults and deliver everything."""
        self.rest.out, self.rest.faults = False, 0.0
        for one in self.wanted:
            if one.run == self.run and one.growing and not one.over:
                one.over = True
                assert one.words is not None
                one.post.show(one.words, last=True)
        assert await self.outbox.flush(10_000)
        await self.store.durable()

    def judge(self) -> None:
        assert self.broken == []
        assert self.store.kept.keys() <= {one.post.nonce for one in self.wanted if one.post.on_restart == "retract"}
        messages = defaultdict(list)
        for there in self.rest.there.values():
            for message in there.values():
                messages[message["sent with"]].append(message["content"])
        for one in self.wanted:
            found = messages[one.post.nonce]
            assert len(found) in one.often, one
            assert one.words is None or found in ([], [one.words]), one
        for channel, there in self.rest.there.items():
            numbers = {one.post.nonce: number for number, one in enumerate(self.wanted) if one.channel == channel}
            order = [numbers[there[key]["sent with"]] for key in sorted(there, key=int)]
            assert order == sorted(order)
        for key, emojis in self.emojis.items():
            assert list(self.rest.reactions.get(key, {})) == emojis


async def play(seed: int) -> Play:
    random.seed(seed)  # the jitter of the backoff
    one = Play(random.Random(seed))  # noqa: S311 - it chooses what a test does
    for _ in range(STEPS):
        await one.step()
    await one.settle()
    return one


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_message_is_delivered_once_with_its_last_text_in_order(seed):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        one = runner.run(play(seed))
    one.judge()
    assert len(one.wanted) > 20


async def answer_lost(one: Play, words: str, **how):
    """A post that is a message, of which the outbox does not know: Discord is out of reach since then."""
    one.rest.faults = 0.0
    made_it = asyncio.Event()

    def made(_nonce, _message_id) -> None:
        one.rest.out = True
        made_it.set()

    one.rest.made = made
    post = one.outbox.post("100", words, **how)
    await made_it.wait()
    return post


async def next_run(one: Play, seconds: float) -> None:
    """The next run begins after so long, when everything of the one before is on disk."""
    await one.store.durable()
    await one.die()
    await asyncio.sleep(seconds)


async def delivered(one: Play) -> list[str]:
    """The messages in the end."""
    one.rest.out = False
    assert await one.outbox.flush(10_000)
    return [message["content"] for message in one.rest.there["100"].values()]


def play_story(story) -> list[str]:
    async def whole() -> list[str]:
        return await story(Play(random.Random(1)))  # noqa: S311 - it chooses what a test does

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(whole())


def test_a_message_of_the_run_before_is_found_after_a_long_outage():
    async def story(one: Play) -> list[str]:
        await answer_lost(one, "hello")
        await asyncio.sleep(90)  # Discord still knows the nonce when the next run begins
        await next_run(one, 900)
        return await delivered(one)

    assert play_story(story) == ["hello"]


def test_an_answer_that_has_grown_is_found_by_the_text_it_began_with():
    async def story(one: Play) -> list[str]:
        post = await answer_lost(one, "I", on_restart="leave")
        post.show("I am done.", last=True)
        await next_run(one, 900)
        return await delivered(one)

    assert play_story(story) == ["I am done."]
