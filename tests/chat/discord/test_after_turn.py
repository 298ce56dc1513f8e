"""What an agent does while no turn runs, as its thread in Discord shows it."""

from __future__ import annotations

import base64

from tests.support.discord_scene import staged
from tests.support.scripted_agents import END, Gate, says, scripted, updates

ASK = {"ask": {"toolCallId": "b", "title": "make", "rawInput": {"command": "make"}}}


async def test_a_text_in_the_moments_after_the_answer_is_in_the_same_message(tmp_path):
    async with staged(tmp_path, limits={"argv": scripted(prompts=[[says("one"), END, says(" more")]])}) as scene:
        thread = await scene.opens("go")
        await scene.idle(thread, 1)
        assert [body.content for body in scene.bodies(thread)] == ["one more"]


async def test_a_later_text_is_a_message_of_its_own(tmp_path):
    gate = Gate(tmp_path / "gate")
    steps = [says("one"), END, gate.step, says("The build passes.")]
    async with staged(tmp_path, limits={"argv": scripted(prompts=[steps])}) as scene:
        thread = await scene.opens("go")
        await scene.idle(thread, 1)
        await gate.open()
        await scene.says(thread, "The build passes.")
        assert [body.content for body in scene.bodies(thread)] == ["one", "The build passes."]


async def test_an_image_of_a_tool_that_ends_after_the_turn_is_attached(tmp_path):
    gate = Gate(tmp_path / "gate")
    image = {"type": "image", "mimeType": "image/png", "data": base64.b64encode(b"\x89PNG\r\n\x1a\n0").decode()}
    content = [{"type": "content", "content": image}]
    plotted = updates("tool_call", toolCallId="t", title="plot", status="completed", content=content)
    steps = [says("one"), END, gate.step, plotted]
    async with staged(tmp_path, limits={"argv": scripted(prompts=[steps])}) as scene:
        thread = await scene.opens("go")
        await scene.idle(thread, 1)
        await gate.open()
        await scene.says(thread, "plot", "📎 `image.png`")


async def test_a_cancel_closes_a_permission_outside_a_turn(tmp_path):
    gate = Gate(tmp_path / "gate")
    steps = [says("one"), END, gate.step, ASK, {"answer": True}]
    async with staged(tmp_path, limits={"argv": scripted(prompts=[steps])}) as scene:
        thread = await scene.opens("go")
        await scene.idle(thread, 1)
        await gate.open()
        await scene.server.wait_for_message(thread, lambda message: bool(message.buttons))
        interaction = scene.ada.slash("cancel", channel=thread)
        await scene.server.wait_for_answer(interaction)
        assert [message.content for message in interaction.messages] == ["⏹️ Stopping…"]
        await scene.says(thread, "No longer needed: `make`", "cancelled")
        assert scene.pool.row(str(thread.id)).state == "idle"


async def test_a_permission_outside_a_turn_is_asked_in_the_thread_and_only_its_owner_may_answer(tmp_path):
    gate = Gate(tmp_path / "gate")
    steps = [says("one"), END, gate.step, ASK, {"answer": True}]
    async with staged(tmp_path, limits={"argv": scripted(prompts=[steps])}, admin_users=("1",)) as scene:
        thread = await scene.opens("go")
        await scene.idle(thread, 1)
        await gate.open()
        await scene.says(thread, "make")
        prompt = next(body for body in scene.bodies(thread) if body.components)
        assert f"<@{scene.ada.id}>" in prompt.content
        denied = await scene.server.wait_for_answer(scene.bob.clicks(prompt, label="Allow"))
        assert "or an admin" in denied.answer_text
        await scene.server.wait_for_answer(scene.ada.clicks(prompt, label="Allow"))
        await scene.says(thread, "selected yes")
