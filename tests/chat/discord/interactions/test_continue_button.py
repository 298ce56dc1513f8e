"""The button 'Continue' below an answer that a limit has cut: the presser's prompt 'continue'."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acpbot.chat.discord.inbound.continued import ALREADY, FORGOTTEN
from acpbot.chat.discord.interactions.continue_button import CUSTOM_ID, LABEL, fits
from acpbot.sessions.turn import TurnEnd
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel, Message


async def cut(scene: Scene, text: str = "say begun; max") -> tuple[Channel, Message]:
    """A thread whose answer was cut, and the message with the button."""
    thread = await scene.opens(text)
    message = await scene.server.wait_for_message(thread, lambda one: has(one, LABEL))
    return thread, message


def has(message: Message, label: str) -> bool:
    return label in [one["label"] for one in message.buttons]


async def test_a_press_is_the_prompt_of_whoever_presses(scene: Scene):
    thread, message = await cut(scene)
    scene.bob.clicks(message, label=LABEL)
    await scene.idle(thread, 2)
    first, pressed, answer = scene.bodies(thread)
    assert first is message
    assert message.buttons == []
    assert pressed.content == f"▶️ {scene.bob.mention}: continue"
    assert not pressed.pings
    assert list(pressed.reactions) == ["🆗"]
    assert "You said: continue" in answer.content
    assert not answer.buttons


async def test_of_two_presses_the_second_has_no_effect(scene: Scene):
    thread, message = await cut(scene)
    scene.bob.clicks(message, label=LABEL)
    second = await scene.server.wait_for_answer(scene.ada.sends_click(message, CUSTOM_ID))
    assert second.answer_text == ALREADY
    await scene.idle(thread, 2)
    assert scene.text(thread).count("You said: continue") == 1


async def test_it_works_after_a_restart(scene: Scene):
    thread, message = await cut(scene)
    await scene.restart()
    scene.ada.clicks(message, label=LABEL)
    await scene.says(thread, "You said: continue")


async def test_the_other_buttons_stay(scene: Scene):
    thread, message = await cut(scene, "sleep 0; sleep 0; sleep 0; sleep 0; max")
    assert [one["label"] for one in message.buttons] == [LABEL, "Show output"]
    scene.ada.clicks(message, label=LABEL)
    await scene.idle(thread, 2)
    assert [one["label"] for one in message.buttons] == ["Show output"]


async def test_after_a_reset_there_is_nothing_to_continue(scene: Scene):
    thread, message = await cut(scene)
    await scene.server.wait_for_answer(scene.ada.slash("reset", channel=thread))
    click = await scene.server.wait_for_answer(scene.ada.clicks(message, label=LABEL))
    await scene.server.wait_for(lambda: click.answer_text)
    assert click.answer_text == FORGOTTEN
    await scene.server.wait_for(lambda: not message.buttons, what="no button")


async def test_a_stranger_cannot_continue(scene: Scene):
    thread, message = await cut(scene)
    await scene.server.wait_for_answer(scene.eve.clicks(message, label=LABEL))
    await scene.idle(thread, 1)
    assert message.buttons
    assert scene.turns(thread) == 1


async def test_a_full_queue_is_explained_at_the_press(tmp_path):
    async with staged(tmp_path, limits={"max_queued": 1}) as scene:
        thread, message = await cut(scene)
        scene.ada.says(thread, "say busy; stall 60")
        await scene.says(thread, "busy")
        scene.ada.says(thread, "say waits")
        await scene.says(thread, "Queued")
        scene.bob.clicks(message, label=LABEL)
        await scene.says(thread, "The queue is full (1 waiting).")


@pytest.mark.parametrize(
    ("end", "may"),
    [
        (TurnEnd("max_tokens"), True),
        (TurnEnd("max_turn_requests"), True),
        (TurnEnd("cancelled", "Stopped after 1 h, the limit for one turn.", at_limit=True), True),
        (TurnEnd("cancelled", cancelled_by="1"), False),
        (TurnEnd("end_turn"), False),
        (TurnEnd("refusal"), False),
        (TurnEnd("error", "x"), False),
    ],
)
def test_only_what_a_limit_has_cut_can_be_continued(end: TurnEnd, may: bool):
    assert fits(end) is may
