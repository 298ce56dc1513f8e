"""The button 'Show output' below an answer with many tool calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.chat.discord.interactions.tool_output import ANSWERS_MOST, EXPIRED, LABEL, ToolOutputs
from tests.support.pool import Clock

if TYPE_CHECKING:
    from tests.support.discord_scene import Scene


async def test_a_click_shows_the_person_alone_what_the_tools_did(scene: Scene):
    thread = await scene.opens("sleep 0; sleep 0; sleep 0; sleep 0; say end")
    message = await scene.server.wait_for_message(thread, lambda one: one.asks)
    assert [one["label"] for one in message.buttons] == [LABEL]
    click = await scene.server.wait_for_answer(scene.bob.clicks(message, label=LABEL))
    (answer,) = click.messages
    assert answer.visible_to is scene.bob
    (file,) = answer.attachments
    assert file.filename == "tool-output.txt"
    lines = file.data.decode().split("\n")
    assert [line.partition(",")[0] for line in lines if line[:1].isdigit()] == [
        f"{number}. sleep 0 (completed" for number in range(1, 5)
    ]


async def test_after_a_restart_the_output_has_expired(scene: Scene):
    thread = await scene.opens("sleep 0; sleep 0; sleep 0; sleep 0; say end")
    message = await scene.server.wait_for_message(thread, lambda one: one.asks)
    await scene.restart()
    click = await scene.server.wait_for_answer(scene.ada.clicks(message, label=LABEL))
    assert click.answer_text == EXPIRED


async def test_a_few_tools_have_no_button(scene: Scene):
    thread = await scene.opens("sleep 0; sleep 0; sleep 0; say end")
    await scene.idle(thread, 1)
    assert not any(one.buttons for one in scene.bodies(thread))


def test_the_outputs_that_are_kept_are_bounded():
    outputs = ToolOutputs(Clock())
    for _ in range(ANSWERS_MOST * 2):
        outputs.keep("x" * 100_000)
    assert len(outputs._texts) <= ANSWERS_MOST
    assert sum(map(len, outputs._texts.values())) <= 4 * 1024 * 1024
