from __future__ import annotations

import asyncio
import random

import pytest

from acpbot.chat.discord.outbound.throttle import UNANSWERED_SECONDS, Throttle
from tests.fakes.virtual_time import VirtualTimeLoop


async def test_the_throttle_lets_urgent_ones_go_first():
    throttle = Throttle(limit=2, per=0.05)
    order = []
    began = asyncio.get_running_loop().time()

    async def one(name: str, *, urgent: bool) -> None:
        await throttle.admit(urgent=urgent)
        order.append((name, asyncio.get_running_loop().time()))

    await asyncio.gather(
        *(one(f"edit {number}", urgent=False) for number in range(4)),
        one("answer", urgent=True),
        one("end", urgent=True),
    )
    names = [name for name, _ in order]
    assert names == ["edit 0", "edit 1", "answer", "end", "edit 2", "edit 3"]
    assert order[2][1] - began >= 0.05
    assert order[4][1] - began >= 0.1


async def test_the_throttle_lets_spare_requests_go_last():
    throttle, order = Throttle(limit=1, per=0.01), []

    async def one(name: str, *, spare: bool = False) -> None:
        await throttle.admit(urgent=False, spare=spare)
        order.append(name)

    await asyncio.gather(one("first"), one("denial", spare=True), one("reaction"), one("typing"))
    assert order == ["first", "reaction", "typing", "denial"]


@pytest.mark.parametrize("seed", range(3))
def test_no_more_requests_than_the_limit_arrive_in_a_second_however_late_each_of_them_arrives(seed):
    """Each waits for its own bucket after it is admitted, then travels, is counted there, and its answer travels."""
    chance = random.Random(seed)  # noqa: S311 - not for security
    throttle, counted = Throttle(limit=5), []

    async def one() -> None:
        await throttle.admit(urgent=chance.random() < 0.5)
        await asyncio.sleep(chance.choice((0.0, 0.0, 4.0)))
        sent = await throttle.leave()
        await asyncio.sleep(chance.uniform(0.0, 3.0))
        counted.append(asyncio.get_running_loop().time())
        await asyncio.sleep(chance.uniform(0.0, 3.0))
        throttle.arrived(sent)

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(100)))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(all_of_them())
    assert len(counted) == 100
    assert all(later - earlier >= 1.0 for earlier, later in zip(counted, counted[5:], strict=False))


def test_requests_that_get_no_answer_hold_up_the_others_for_some_seconds_only():
    throttle = Throttle(limit=2)

    async def third() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(3):
            await throttle.admit(urgent=True)
            await throttle.leave()
        return loop.time() - began

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(third()) == pytest.approx(UNANSWERED_SECONDS + 1.0)


def test_a_request_that_is_cancelled_before_it_is_sent_takes_no_place():
    throttle = Throttle(limit=1)

    async def cancelled() -> float:
        loop = asyncio.get_running_loop()
        began, first = loop.time(), await throttle.leave()
        given_up = [asyncio.ensure_future(throttle.leave()) for _ in range(3)]
        await asyncio.wait(given_up, timeout=0.5)
        for one in given_up:
            one.cancel()
        throttle.arrived(first)
        await throttle.leave()
        return loop.time() - began

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(cancelled()) == pytest.approx(1.5)
