"""Who is notified, and when: the person who asked, by a permission request and at the end of a long turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from acpbot.chat.discord.access import PLATFORM
from acpbot.chat.discord.discord_time import snowflake
from acpbot.chat.platform import IncomingMessage
from acpbot.storage.records import TurnRecord
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel, Message


def pinging(scene: Scene, thread: Channel) -> list[Message]:
    return [one for one in scene.bodies(thread) if one.pings]


async def takes(scene: Scene, thread: Channel, words: str, seconds: float) -> None:
    """The turn that has said these words takes so long."""
    await scene.says(thread, words)
    scene.harness.clock.move(seconds)


async def test_a_long_turn_ends_with_a_reply_that_notifies_just_its_asker(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    message = scene.bob.says(thread, f"say second; stall 0.2; say {scene.ada.mention}")
    await takes(scene, thread, "second", 200)
    await scene.idle(thread, 2)
    answer, last = scene.bodies(thread)[-2:]
    assert answer.content == f"second{scene.ada.mention}"
    assert last.content == f"✅ {scene.bob.mention} Done after 3 minutes."
    assert last.mentions == [scene.bob]
    assert last.referenced is message
    assert message.shown_reactions == ["🆗"]


async def test_the_asker_is_named_where_the_message_is_not_in_the_thread(scene: Scene):
    thread = await scene.opens("say first; stall 0.2")
    await takes(scene, thread, "first", 61)
    await scene.idle(thread, 1)
    last = scene.bodies(thread)[-1]
    assert (last.mentions, last.reference) == ([scene.ada], None)


@pytest.mark.parametrize(("minutes", "notifies"), [(5, True), (0, False)])
async def test_an_answer_that_a_crash_has_cut_notifies_who_has_waited_for_long(tmp_path, minutes, notifies):
    threads: list[Channel] = []

    def cut_short(scene: Scene) -> dict[str, Any]:
        thread = scene.server.make_thread(scene.channel, scene.server.bot, "the long one")
        threads.append(thread)
        key = str(snowflake(time.time() - 60 * minutes))
        message = IncomingMessage(thread_id=str(thread.id), text="go", owner=str(scene.ada.id), key=key)
        cut = TurnRecord("1", str(thread.id), PLATFORM, "running", msgspec.json.encode(message))
        scene.pool.store.restored.turns.append(cut)
        return {}

    async with staged(tmp_path, setup=cut_short) as scene:
        told = await scene.server.wait_for_message(threads[0], lambda one: "mid-answer" in one.content)
        assert [who.name for who in told.mentions] == (["ada"] if notifies else [])


@pytest.mark.parametrize(("after", "seconds"), [(0, 1000), (60, 30)])
async def test_a_turn_that_is_not_long_notifies_nobody(tmp_path, after: int, seconds: int):
    async with staged(tmp_path, notify_after_seconds=after) as scene:
        thread = await scene.opens("say first; stall 0.2")
        await takes(scene, thread, "first", seconds)
        await scene.idle(thread, 1)
        assert scene.text(thread) == "first"
        assert pinging(scene, thread) == []


async def test_who_has_cancelled_is_named_and_the_asker_notified_unless_it_was_the_asker(tmp_path):
    async with staged(tmp_path, setup=lambda scene: {"admin_users": (str(scene.bob.id),)}) as scene:
        thread = await scene.opens("say first; sleep 60")
        await takes(scene, thread, "sleep 60", 100)
        scene.bob.slash("cancel", channel=thread)
        await scene.idle(thread, 1)
        answer, notification = (one.content for one in scene.bodies(thread))
        assert answer.endswith("`sleep 60`\nfirst")
        assert notification == f"⏹️ {scene.ada.mention} Cancelled by {scene.bob.mention}."
        scene.ada.says(thread, "say second; sleep 61")
        await takes(scene, thread, "sleep 61", 100)
        scene.ada.slash("cancel", channel=thread)
        await scene.idle(thread, 2)
        assert scene.bodies(thread)[-1].content.endswith(f"⏹️ Cancelled by {scene.ada.mention}.")
        assert len(pinging(scene, thread)) == 1


async def test_a_permission_request_notifies_just_its_asker(scene: Scene):
    thread = await scene.opens("tool true")
    asked = await scene.server.wait_for_message(thread, lambda one: one.asks)
    assert asked.mentions == [scene.ada]
    scene.ada.clicks(asked, label="Allow")
    await scene.idle(thread, 1)


async def test_the_limit_that_ends_a_turn_is_named_with_what_was_done(tmp_path):
    limits = {"turn_timeout_seconds": 120.0, "stuck_after_seconds": 1.0}
    async with staged(tmp_path, limits=limits, notify_after_seconds=0) as scene:
        thread = await scene.opens("say first; sleep 60")
        await takes(scene, thread, "sleep 60", 121)
        scene.pool.tick()
        await scene.idle(thread, 1)
        assert scene.text(thread) == "❌ `sleep 60`\nfirst\n⏹️ Stopped after 2 minutes, the limit for one turn."
        assert [one["label"] for one in scene.bodies(thread)[0].buttons] == ["Continue"]


@pytest.mark.parametrize("done", ["say first; ", ""])
async def test_the_reason_for_the_end_of_a_long_turn_is_told_once_in_the_message_that_notifies(tmp_path, done: str):
    async with staged(tmp_path, limits={"turn_timeout_seconds": 120.0}) as scene:
        thread = await scene.opens(f"{done}stall 60")
        await scene.server.wait_for(
            lambda: (row := scene.pool.rows()) and row[0].state == "busy" and row[0].turn_seconds is not None,
            what="a turn that runs",
        )
        await scene.says(thread, "first" if done else "")
        scene.harness.clock.move(121)
        scene.pool.tick()
        await scene.idle(thread, 1)
        *answer, last = scene.bodies(thread)
        assert [one.content for one in answer] == (["first"] if done else [])
        assert last.content == f"⏹️ {scene.ada.mention} Stopped after 2 minutes, the limit for one turn."
        assert last.mentions == [scene.ada]
        assert [one["label"] for one in scene.bodies(thread)[0].buttons] == ["Continue"]


async def test_a_long_turn_that_does_not_obey_its_limit_ends_with_one_message_that_notifies(tmp_path):
    async with staged(tmp_path, limits={"turn_timeout_seconds": 120.0}) as scene:
        thread = await scene.opens("say first; hang")
        await takes(scene, thread, "first", 121)
        scene.pool.tick()
        scene.harness.clock.move(31)
        scene.pool.tick()
        await scene.idle(thread, 1)
        answer, last = scene.bodies(thread)
        assert answer.content == "first"
        assert last.content == (
            f"😱 {scene.ada.mention} Stopped after 2 minutes, the limit for one turn. The agent didn't stop "
            "when asked, so I ended its session. Send a message to carry on where you left off."
        )
        assert last.mentions == [scene.ada]


async def test_the_crash_of_an_agent_in_a_long_turn_is_told_once_below_the_answer(scene: Scene):
    thread = await scene.opens("say first; stall 0.2; crash")
    await takes(scene, thread, "first", 61)
    await scene.idle(thread, 1)
    answer, last = scene.bodies(thread)
    assert answer.content == "first"
    assert last.content.startswith(f"😱 {scene.ada.mention} The agent crashed")
    assert last.content.endswith("Send a message to carry on where you left off.")
    assert last.mentions == [scene.ada]


async def test_a_reset_by_somebody_else_in_a_long_turn_is_told_in_the_message_that_notifies(tmp_path):
    async with staged(tmp_path, setup=lambda scene: {"admin_users": (str(scene.bob.id),)}) as scene:
        thread = await scene.opens("say first; stall 60")
        await takes(scene, thread, "first", 61)
        scene.bob.slash("reset", channel=thread)
        await scene.says(thread, "starts a new conversation")
        await scene.idle(thread, 0)
        answer, last = scene.bodies(thread)
        assert (answer.content, last.mentions) == ("first", [scene.ada])
