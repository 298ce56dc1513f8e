"""A thread reads in the order in which things happened, and the end of the answer is the last thing in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel


def contents(scene: Scene, thread: Channel) -> list[str]:
    return [one.content for one in scene.bodies(thread)]


async def test_the_answer_goes_on_below_a_permission_request(scene: Scene):
    thread = await scene.opens("say before; tool true; say after")
    asked = await scene.server.wait_for_message(thread, lambda one: one.asks)
    scene.ada.clicks(asked, label="Allow")
    await scene.idle(thread, 1)
    before, prompt, after = contents(scene, thread)
    assert before == "✅ `true`\nbefore", "the tool stays where it was shown"
    assert "Allowed once" in prompt
    assert after == "The command completed: no outputafter"


async def test_the_answer_goes_on_below_a_diff(scene: Scene):
    thread = await scene.opens("say before; edit; say after")
    await scene.idle(thread, 1)
    before, diff, after = contents(scene, thread)
    assert before.startswith("✅")
    assert before.endswith("before")
    assert "```diff" in diff
    assert after.endswith("after")


async def test_the_answer_goes_on_below_a_notice(scene: Scene):
    thread = await scene.opens("say before; stall 0.3; say after")
    await scene.says(thread, "before")
    scene.chat.outbox.post(str(thread.id), "An admin says hello.")
    await scene.idle(thread, 1)
    assert contents(scene, thread) == ["before", "An admin says hello.", "after"]


async def test_without_anything_between_the_answer_is_one_message(scene: Scene):
    thread = await scene.opens("say one; stall 0.1; sleep 0; say two")
    await scene.idle(thread, 1)
    assert len(contents(scene, thread)) == 1


async def test_an_answer_that_is_interrupted_often_is_as_long_as_any_other(tmp_path):
    async with staged(tmp_path, answer_messages=2) as scene:
        thread = await scene.opens("say one; edit; say two; edit; long 2500")
        await scene.idle(thread, 1)
        assert all(not one.attachments for one in scene.bodies(thread))


async def test_the_answer_to_a_message_that_waited_is_a_reply_to_it(scene: Scene):
    thread = await scene.opens("say first; stall 0.2")
    await scene.says(thread, "first")
    waits = scene.bob.says(thread, "say second")
    await scene.idle(thread, 2)
    first, second = scene.bodies(thread)
    assert (first.reference, first.content) == (None, "first")
    assert second.referenced is waits
    assert not second.pings


async def test_no_tool_is_shown_as_running_after_its_turn(scene: Scene):
    thread = await scene.opens("say one; sleep 60")
    await scene.says(thread, "🔧 `sleep 60`")
    scene.ada.slash("cancel", channel=thread)
    await scene.idle(thread, 1)
    assert "⏹️ `sleep 60`" in scene.text(thread) or "❌" in scene.text(thread)
    assert "🔧" not in scene.text(thread)
