"""The button 'Stop' below an answer that grows: who may press it, where it is, and that nothing of it is left over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.chat.discord.interactions.stop_button import LABEL, OVER
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel, Message


def labels(message: Message) -> list[str]:
    return [one["label"] for one in message.buttons]


async def growing(scene: Scene, text: str = "say begun; stall 60") -> tuple[Channel, Message]:
    """A thread whose answer grows, and the message with the button."""
    thread = await scene.opens(text)
    message = await scene.server.wait_for_message(thread, lambda one: LABEL in labels(one))
    return thread, message


async def test_the_asker_stops_the_answer(scene: Scene):
    thread, message = await growing(scene)
    click = await scene.server.wait_for_answer(scene.ada.clicks(message, label=LABEL))
    assert click.response_type == 7
    await scene.idle(thread, 1)
    assert message.content == f"begun\n⏹️ Cancelled by {scene.ada.mention}."
    assert message.buttons == []
    assert not message.pings
    assert len(message.versions) == 3, "the answer to the click, and the end"


async def test_the_button_shows_that_the_agent_was_asked_to_stop(tmp_path):
    async with staged(tmp_path) as scene:
        _thread, message = await growing(scene, "say begun; hang")
        await scene.server.wait_for_answer(scene.ada.clicks(message, label=LABEL))
        assert [(one["label"], one.get("disabled")) for one in message.buttons] == [("Stopping…", True)]
        assert message.content == "begun"


async def test_others_may_not_stop_it(scene: Scene):
    thread, message = await growing(scene)
    click = await scene.server.wait_for_answer(scene.bob.clicks(message, label=LABEL))
    assert click.answer_text == f"Only {scene.ada.mention} or an admin can do this here."
    assert click.messages[0].visible_to is scene.bob
    assert scene.harness.row(str(thread.id)).state == "busy"


async def test_the_owner_of_the_thread_and_admins_stop_the_answers_of_others(tmp_path):
    async with staged(tmp_path, setup=lambda scene: {"admin_users": (str(scene.bob.id),)}) as scene:
        thread, message = await growing(scene)
        scene.bob.clicks(message, label=LABEL)
        await scene.idle(thread, 1)
        assert scene.bob.mention in message.content
        scene.bob.says(thread, "say second; stall 60")
        second = await scene.server.wait_for_message(thread, lambda one: LABEL in labels(one))
        scene.ada.clicks(second, label=LABEL)
        await scene.idle(thread, 2)
        assert second.content == f"second\n⏹️ Cancelled by {scene.ada.mention}."


async def test_a_turn_that_ends_leaves_no_button_and_costs_no_more_edits_than_one(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    assert [one.buttons for one in scene.bodies(thread)] == [[]]
    assert len(scene.server.requests_to("PATCH", rest.MESSAGE)) <= 1


async def test_the_button_moves_with_the_answer(scene: Scene):
    thread = await scene.opens("say before; edit; say after; stall 60")
    after = await scene.server.wait_for_message(thread, lambda one: "after" in one.content)
    await scene.server.wait_for(lambda: not scene.bodies(thread)[0].buttons, what="no button above")
    assert labels(after) == [LABEL]
    assert [labels(one) for one in scene.bodies(thread)] == [[], [], [LABEL]]


async def test_one_of_several_messages_of_an_answer_has_the_button(scene: Scene):
    thread = await scene.opens("long 5000; stall 60")
    await scene.server.wait_for(
        lambda: [labels(one) for one in scene.bodies(thread)] == [[], [], [LABEL]], what="one button"
    )


async def test_a_click_on_a_button_that_was_left_over_takes_it_away(scene: Scene):
    _thread, message = await growing(scene)
    await scene.restart()
    click = await scene.server.wait_for_answer(scene.ada.clicks(message, label=LABEL))
    await scene.server.wait_for(lambda: click.answer_text)
    assert click.answer_text == OVER
    assert message.buttons == []


async def test_a_late_click_says_that_the_answer_has_ended(scene: Scene):
    thread, message = await growing(scene, "sleep 0; sleep 0; sleep 0; sleep 0; stall 0.2; max")
    custom_id = message.buttons[0]["custom_id"]
    await scene.idle(thread, 1)
    late = await scene.server.wait_for_answer(scene.ada.sends_click(message, custom_id))
    await scene.server.wait_for(lambda: late.answer_text)
    assert late.answer_text == OVER
    assert labels(message) == ["Continue", "Show output"], "the buttons of the end stay"
