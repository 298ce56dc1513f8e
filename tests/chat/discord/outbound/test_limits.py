"""The rate limits as a turn meets them, those that the bot did not cause too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acpbot.chat.discord.outbound.throttle import Throttle
from tests.fakes.discord import rest

if TYPE_CHECKING:
    from tests.support.discord_scene import Scene


async def test_a_request_cancelled_during_a_global_limit_blocks_no_other(scene: Scene):
    """A turn that ends stops showing that it types; that request may be the one that met the limit."""
    limited = scene.server.faults.too_many("POST", rest.TYPING, retry_after=0.2, is_global=True)
    thread = await scene.opens("stall 0.05; say one")
    await asyncio.wait_for(limited.arrived.wait(), 5)
    assert await scene.says(thread, "one") == "one"
    scene.ada.says(thread, "say two")
    await scene.says(thread, "two")
    assert [call.route for call in scene.server.answered_429] == [rest.TYPING]


async def test_the_throttle_blocks_all_requests_while_a_limit_lasts():
    throttle = Throttle(limit=2, per=0.01)
    loop = asyncio.get_running_loop()
    began = loop.time()
    throttle.block(0.05)
    throttle.block(0.01)
    await asyncio.gather(*(throttle.admit(urgent=urgent) for urgent in (False, True, False)))
    assert loop.time() - began >= 0.05
