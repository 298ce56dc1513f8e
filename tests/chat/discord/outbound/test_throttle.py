from __future__ import annotations

import asyncio

from acpbot.chat.discord.outbound.throttle import Throttle


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
