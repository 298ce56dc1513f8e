"""Requests and questions that are answered by a written reply to their message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acpbot.acp.permissions import ALLOW, REJECT
from acpbot.acp.schema import PermissionOption
from acpbot.chat.discord.interactions.buttons import BY_BUTTON, meant, written
from acpbot.chat.discord.interactions.question_text import BY_WINDOW
from tests.chat.discord.interactions.test_questions import CLAUDE, TEXTS, asks, form, replied
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel, Message


PAGE = {"mode": "url", "message": "Sign in", "url": "https://example.com/", "elicitationId": "e-1"}


async def asked(scene: Scene, text: str = "tool echo hi") -> tuple[Channel, Message]:
    thread = await scene.opens(text)
    return thread, await scene.server.wait_for_message(thread, lambda one: one.asks)


@pytest.mark.parametrize("text", ["yes", "Yes!", " YES. ", "allow", "Allow"])
def test_these_words_allow(text: str):
    assert written(text) == ALLOW


@pytest.mark.parametrize("text", ["no", "No.", "NO!!", "reject"])
def test_these_words_reject(text: str):
    assert written(text) == REJECT


@pytest.mark.parametrize("text", ["", "yes please", "no, use sed", "yes?", "always allow", "yep", "y", "ok", "no\nyes"])
def test_any_other_text_is_a_message(text: str):
    assert written(text) is None


def test_a_yes_allows_once_and_never_more():
    once, always = PermissionOption("1", "", "allow_once"), PermissionOption("2", "", "allow_always")
    assert meant([always, once], ALLOW) is once
    assert meant([always], ALLOW) is None
    assert meant([once, PermissionOption("3", "", "allow_once")], ALLOW) is None


def test_a_no_is_the_mildest_rejection():
    once, always = PermissionOption("1", "", "reject_once"), PermissionOption("2", "", "reject_always")
    assert meant([always, once], REJECT) is once
    assert meant([always], REJECT) is always
    assert meant([], REJECT) is None


async def test_a_reply_answers_a_request_although_discord_s_answer_to_its_message_is_late(scene: Scene):
    late = scene.server.faults.hold("POST", rest.MESSAGES, when="after", where=lambda call: "Allow" in str(call.body))
    _thread, message = await asked(scene)
    scene.ada.says(message.channel, "yes", reply_to=message)
    await scene.server.wait_for(lambda: scene.harness.row(str(message.channel.id)).state == "busy")
    late.release()
    await scene.says(message.channel, "The command completed: hi")
    await scene.idle(message.channel, 1)
    assert message.content == f"✅ Allowed once by {scene.ada.mention}: `echo hi`"


async def test_the_asker_allows_by_a_reply(scene: Scene):
    thread, message = await asked(scene)
    scene.ada.says(thread, "Yes!", reply_to=message)
    await scene.says(thread, "The command completed: hi")
    await scene.idle(thread, 1)
    assert message.content == f"✅ Allowed once by {scene.ada.mention}: `echo hi`"
    assert message.buttons == []
    assert scene.turns(thread) == 1, "the reply is no prompt"


async def test_the_asker_rejects_by_a_reply_without_a_ping(tmp_path):
    async with staged(tmp_path, allow_user_messages="mentions") as scene:
        thread, message = await asked(scene)
        scene.ada.says(thread, "no", reply_to=message, ping=False)
        await scene.says(thread, "allow it")


async def test_anybody_elses_yes_does_nothing_and_is_explained(scene: Scene):
    thread, message = await asked(scene)
    scene.bob.says(thread, "yes", reply_to=message)
    await scene.says(thread, f"Only {scene.ada.mention} or an admin of the bot can answer this one.")
    assert message.buttons
    assert scene.harness.row(str(thread.id)).queued == 0


async def test_a_bots_yes_is_no_answer(tmp_path):
    async with staged(tmp_path, allow_bot_messages="all") as scene:
        robot = scene.server.make_user("robot", scene.guild)
        robot.bot = True
        thread, message = await asked(scene)
        robot.says(thread, "yes", reply_to=message)
        await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).queued == 1)
        assert message.buttons


async def test_more_than_the_word_is_a_message_that_waits(scene: Scene):
    thread, message = await asked(scene)
    scene.ada.says(thread, "no, use printf", reply_to=message)
    await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).queued == 1)
    assert message.buttons


async def test_a_yes_that_replies_to_nothing_is_a_message(scene: Scene):
    thread, message = await asked(scene)
    scene.ada.says(thread, "yes")
    await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).queued == 1)
    assert message.buttons


async def test_a_yes_to_what_has_ended_is_a_message(scene: Scene):
    thread, message = await asked(scene)
    scene.ada.clicks(message, label="Reject")
    await scene.idle(thread, 1)
    scene.ada.says(thread, "yes", reply_to=message)
    await scene.idle(thread, 2)
    assert "You said: yes" in scene.text(thread)


async def test_a_text_is_the_answer_to_a_question(tmp_path):
    field = {"name": {"type": "string", "title": "Name"}}
    async with asks(tmp_path, form(field)) as (scene, thread, message):
        scene.ada.says(thread, "Ada, of course", reply_to=message)
        assert await replied(scene, thread) == {"action": "accept", "content": {"name": "Ada, of course"}}


async def test_the_words_of_a_button_are_its_press(tmp_path):
    async with asks(tmp_path, form(CLAUDE)) as (scene, thread, message):
        scene.ada.says(thread, "green", reply_to=message)
        assert await replied(scene, thread) == {"action": "accept", "content": {"question_0": "green"}}


@pytest.mark.parametrize(
    ("params", "text", "answer"),
    [
        (form({"sure": {"type": "boolean", "title": "Sure?"}}), "Yes", {"action": "accept", "content": {"sure": True}}),
        (form({"sure": {"type": "boolean", "title": "Sure?"}}), "no", {"action": "accept", "content": {"sure": False}}),
        (form({}, message="Shall I?"), "Yes!", {"action": "accept", "content": {}}),
        (form({}, message="Shall I?"), "no", {"action": "decline"}),
        (form(TEXTS), "no", {"action": "decline"}),
        (PAGE, "no", {"action": "decline"}),
    ],
)
async def test_a_written_yes_or_no_answers_a_question(tmp_path, params, text, answer):
    async with asks(tmp_path, params) as (scene, thread, message):
        scene.ada.says(thread, text, reply_to=message)
        assert await replied(scene, thread) == answer
        assert not message.buttons


async def test_a_yes_to_a_form_with_fields_is_a_message(tmp_path):
    async with asks(tmp_path, form(TEXTS)) as (scene, thread, message):
        scene.ada.says(thread, "yes", reply_to=message)
        await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).queued == 1)
        assert message.buttons


async def test_a_wrong_value_is_explained_and_the_question_stays_open(tmp_path):
    field = {"age": {"type": "integer", "title": "age", "maximum": 150}}
    async with asks(tmp_path, form(field)) as (scene, thread, message):
        scene.ada.says(thread, "200", reply_to=message)
        await scene.says(thread, "it must be at most 150. Please try again.")
        scene.ada.says(thread, "36", reply_to=message)
        assert await replied(scene, thread) == {"action": "accept", "content": {"age": 36}}


def test_the_sentences_name_the_way_out():
    assert "button" in BY_BUTTON
    assert "button" in BY_WINDOW
