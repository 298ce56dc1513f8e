"""What Discord shows below the bot's name."""

from __future__ import annotations

import asyncio

import pytest

from acpbot.chat.discord.gateway.presence import presence_text
from tests.support.discord_scene import Scene, staged


@pytest.mark.parametrize(
    ("working", "restarting", "text"),
    [(0, False, ""), (1, False, "1 working"), (2, False, "2 working"), (2, True, "restarting")],
)
def test_the_status_says_how_many_work_or_that_the_bot_restarts(working, restarting, text):
    assert presence_text(working=working, restarting=restarting) == text


def shown(scene: Scene) -> list[str]:
    """The statuses that Discord was told, oldest first."""
    told = [one["activities"] for one in scene.server.gateway.presences]
    return [activities[0]["state"] if activities else "" for activities in told]


async def test_the_status_follows_the_turns_and_a_restart_and_is_told_once_each(tmp_path):
    async with staged(tmp_path, presence=0.02) as scene:
        thread = await scene.opens("say first; sleep 60")
        await scene.server.wait_for(lambda: shown(scene) == ["1 working"], what="the status")
        scene.pool.draining = True
        await scene.server.wait_for(lambda: shown(scene)[1:] == ["restarting"], what="the status")
        scene.pool.draining = False
        await scene.server.wait_for(lambda: shown(scene)[2:] == ["1 working"], what="the status")
        await scene.pool.cancel(str(thread.id))
        await scene.server.wait_for(lambda: shown(scene)[3:] == [""], what="the status")


async def test_a_new_session_of_the_gateway_is_told_the_status_again(tmp_path):
    async with staged(tmp_path, presence=0.02) as scene:
        await scene.opens("say first; sleep 60")
        await scene.server.wait_for(lambda: shown(scene) == ["1 working"], what="the status")
        await scene.server.gateway.invalidate()
        await scene.server.wait_for(lambda: shown(scene) == ["1 working"] * 2, what="the status", seconds=15)


async def test_while_nobody_asks_for_anything_nothing_is_told(tmp_path):
    async with staged(tmp_path, presence=0.001) as scene:
        for _ in range(20):
            await asyncio.sleep(0)
        assert shown(scene) == []
