"""The rate limits as a turn meets them, those that the bot did not cause too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acpbot.chat.discord.outbound.throttle import Throttle
from tests.fakes.discord import rest
from tests.support.discord_scene import staged

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


async def test_the_first_reactions_in_two_channels_at_once_stay_below_the_limit(tmp_path):
    """The bucket is known then by the answer to one of them; it is of both channels, and takes one at a time."""
    async with staged(tmp_path, unit=1.0) as scene:
        other = scene.server.make_channel(scene.guild, "other")
        both = [scene.eve.says(scene.channel, "here"), scene.eve.says(other, "there")]
        api = scene.chat.outbox.rest

        def react(emoji: str) -> list[asyncio.Task[None]]:
            return [asyncio.create_task(api.react(str(one.channel.id), str(one.id), emoji, add=True)) for one in both]

        first = react("👀")
        await scene.server.wait_for(lambda: all(one.reactions for one in both))
        await api.message(str(other.id), str(both[1].id))  # the answers that were sent before this one have arrived
        await asyncio.gather(*first, *react("🤔"))
        assert scene.server.rate_limited == []


async def test_requests_that_arrive_late_and_all_at_once_stay_below_the_global_limit(scene: Scene):
    """This process or the network is slow: what was sent in one second reaches Discord with what follows it."""
    api, late = scene.chat.outbox.rest, 3 * scene.server.limits.unit
    scene.server.faults.delay(late, "GET", rest.CHANNEL, times=45)
    assert not any(await asyncio.gather(*(api.exists(str(number)) for number in range(200))))
    assert scene.server.answered_429 == []
