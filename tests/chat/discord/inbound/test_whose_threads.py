"""Which threads are the bot's, and who else writes in them: remembered for longer than a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.chat.discord.interactions.test_commands import answer_to
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.people import Author
    from tests.fakes.discord.state import Channel


def robot_in(scene: Scene) -> Author:
    robot = scene.server.make_user("robot", scene.guild)
    robot.bot = True
    return robot


@pytest.mark.parametrize("how", ["reset", "expiry"])
async def test_somebodys_thread_needs_no_mention_after_its_conversation_was_forgotten(scene: Scene, how):
    thread = scene.server.make_thread(scene.channel, scene.bob, "bob's thread")
    scene.bob.says(thread, "say one", mentions=[scene.server.bot])
    await scene.idle(thread, 1)
    if how == "reset":
        await answer_to(scene, "reset", thread, scene.bob)
    else:
        await scene.pool.suspend(str(thread.id), scene.harness.row(str(thread.id)).session_id or "")
        scene.harness.clock.move(31 * 86_400)
        scene.pool.tick()
    assert scene.pool.thread(str(thread.id)) is None
    await scene.restart()
    scene.bob.says(thread, "say two")
    await scene.says(thread, "one", "two")
    assert ("starting fresh" in scene.text(thread)) == (how == "expiry")


async def test_a_thread_where_another_bot_has_written_before_needs_mentions_and_is_looked_up_once(tmp_path):
    threads: list[Channel] = []

    def before_the_start(scene: Scene) -> dict[str, Any]:
        threads.extend(scene.server.make_thread(scene.channel, scene.bob, name) for name in ("mixed", "own"))
        robot_in(scene).says(threads[0], "hello")
        return {"allow_user_messages": "multibot-mentions"}

    async with staged(tmp_path, setup=before_the_start) as scene:
        mixed, own = threads
        for thread in (mixed, own):
            scene.bob.says(thread, "say one", mentions=[scene.server.bot])
            await scene.idle(thread, 1)
        for text in ("say two", "say three"):
            scene.bob.says(mixed, text)
            scene.bob.says(own, text)
        await scene.says(own, "one", "two", "three")
        scene.bob.says(mixed, "say four", mentions=[scene.server.bot])
        assert "two" not in await scene.says(mixed, "one", "four")
        looks = [
            call
            for call in scene.server.requests_to("GET", rest.MESSAGES)
            if call.query.keys().isdisjoint({"after", "before"})
        ]
        assert len(looks) == 2


async def test_after_a_restart_a_thread_where_another_bot_writes_still_needs_mentions(tmp_path):
    async with staged(tmp_path, allow_user_messages="multibot-mentions") as scene:
        thread = await scene.opens("say one")
        await scene.idle(thread, 1)
        robot_in(scene).says(thread, "hello")
        scene.ada.says(thread, "say seen", mentions=[scene.server.bot])
        await scene.says(thread, "seen")
        await scene.restart()
        scene.ada.says(thread, "say two")
        scene.ada.says(thread, "say three", mentions=[scene.server.bot])
        assert "two" not in await scene.says(thread, "one", "three")
