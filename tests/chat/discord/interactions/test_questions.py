"""Questions of agents in Discord: buttons, menus, windows and addresses; who may answer, and what becomes of each."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from acpbot.acp import elicitation
from acpbot.acp.connection import ElicitationAsked
from acpbot.acp.elicitation import URL_MOST
from acpbot.chat.discord.interactions.command_text import NOT_HERE
from acpbot.chat.discord.interactions.question_parts import Layout
from acpbot.chat.discord.interactions.question_text import ask_text
from acpbot.sessions.questions import Question
from acpbot.text import units
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged
from tests.support.scripted_agents import END, Gate, says, scripted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.discord.state import Channel, Message

COLORS = [
    {"const": "red", "title": "Red", "description": "As a rose"},
    {"const": "green", "title": "Green", "description": "As *grass* <@1>"},
]
OTHER = {"type": "string", "title": "Other", "description": "Type your own answer (optional)."}
CLAUDE = {
    "question_0": {"type": "string", "title": "Color", "oneOf": COLORS},
    "question_0_custom": OTHER,
}
"""As claude-agent-acp asks one question of its AskUserQuestion."""
TWO = {
    "question_0": {"type": "string", "title": "Color", "description": "Which color?", "oneOf": COLORS},
    "question_0_custom": OTHER,
    "question_1": {"type": "array", "title": "Sizes", "description": "Which sizes?", "items": {"anyOf": COLORS}},
    "question_1_custom": OTHER,
}
TEXTS = {
    "name": {"type": "string", "title": "Name", "minLength": 2},
    "age": {"type": "integer", "minimum": 0, "maximum": 150},
    "ratio": {"type": "number", "default": 0.5},
    "day": {"type": "string", "format": "date"},
}
ALL = {"flag": {"type": "boolean", "default": True}, **{f"t{number}": {"type": "string"} for number in range(6)}}


def form(fields: dict[str, Any], *, required: tuple[str, ...] = (), message: str = "Which color?") -> dict[str, Any]:
    schema = {"type": "object", "properties": fields, "required": list(required)}
    return {"mode": "form", "message": message, "requestedSchema": schema}


@asynccontextmanager
async def asks(tmp_path: Path, params: dict[str, Any], *more: dict[str, Any], **keys: Any) -> AsyncIterator[Any]:
    """A scene, its thread, and the message that asks."""
    limits = {"argv": scripted(prompts=[[{"elicit": params}, *more, {"answered": True}, END]])}
    limits |= keys.pop("limits", {})
    async with staged(tmp_path, limits=limits, **keys) as scene:
        thread = await scene.opens("go on")
        message = await scene.server.wait_for_message(thread, lambda one: "The agent asks" in one.content)
        yield scene, thread, message


def custom_id(message: Message, end: str) -> str:
    ids = [item["custom_id"] for row in message.components for item in row["components"] if "custom_id" in item]
    return next(one for one in ids if one.endswith(end))


async def replied(scene: Scene, thread: Channel) -> Any:
    """What the agent says that it was answered."""
    await scene.idle(thread, 1)
    text = next(one.content for one in scene.bodies(thread) if one.content.startswith("{"))
    return json.loads(text)


async def opened(scene: Scene, message: Message, label: str) -> Any:
    """The window that a button opens."""
    shown = await scene.server.wait_for_answer(scene.ada.clicks(message, label=label))
    assert shown.response_type == 9
    return shown


async def test_one_press_answers_a_choice_of_a_few(tmp_path):
    async with asks(tmp_path, form(CLAUDE)) as (scene, thread, message):
        assert [one["label"] for one in message.buttons] == ["Red", "Green", "Something else…", "Decline"]
        assert "> Which color?" in message.content
        assert "Green: As \\*grass\\* \\<\\@1\\>" in message.content
        assert f"Waiting for {scene.ada.mention} or an admin." in message.content
        assert message.mentions == [scene.ada], "its asker is notified"
        assert scene.harness.row(str(thread.id)).waiting_for == "Which color?"
        scene.ada.clicks(message, label="Green")
        assert await replied(scene, thread) == {"action": "accept", "content": {"question_0": "green"}}
        assert message.content == f"✅ Answered by {scene.ada.mention}:\n> Which color?\n**Color**: `Green`"
        assert message.components == []


async def test_a_text_of_ones_own_answers_it_too(tmp_path):
    async with asks(tmp_path, form(CLAUDE)) as (scene, thread, message):
        shown = await opened(scene, message, "Something else…")
        empty = await scene.server.wait_for_answer(scene.ada.submits(shown, {"1": " "}))
        assert empty.answer_text == "Type an answer, or press one of the buttons."
        scene.ada.submits(shown, {"1": "Blue"})
        assert await replied(scene, thread) == {"action": "accept", "content": {"question_0_custom": "Blue"}}


async def test_several_questions_are_menus_and_a_window(tmp_path):
    async with asks(tmp_path, form(TWO)) as (scene, thread, message):
        assert [one["label"] for one in message.buttons] == ["Fill in…", "Send", "Decline"]
        scene.ada.selects(message, custom_id(message, ":pick:0"), ["1"])
        scene.ada.selects(message, custom_id(message, ":pick:2"), ["0", "1"])
        scene.ada.submits(await opened(scene, message, "Fill in…"), {"1": "dark", "3": ""})
        await scene.says(thread, "✏️ `dark`")
        chosen = message.component(custom_id(message, ":pick:0"))
        assert [option["default"] for option in chosen["options"]] == [False, True]
        scene.ada.clicks(message, label="Send")
        assert await replied(scene, thread) == {
            "action": "accept",
            "content": {"question_0": "green", "question_0_custom": "dark", "question_1": ["red", "green"]},
        }


async def test_a_form_of_texts_is_one_window_and_a_wrong_value_keeps_it_open(tmp_path):
    async with asks(tmp_path, form(TEXTS, required=("name",))) as (scene, thread, message):
        assert [one["label"] for one in message.buttons] == ["Answer…", "Decline"]
        typed = {"0": "Ada", "1": "200", "2": "0.25", "3": "2026-01-31"}
        shown = await opened(scene, message, "Answer…")
        wrong = await scene.server.wait_for_answer(scene.ada.submits(shown, typed))
        assert wrong.answer_text == "**age**: it must be at most 150. Please try again."
        assert wrong.messages[0].visible_to is scene.ada
        assert scene.harness.row(str(thread.id)).state == "waiting"
        again = await opened(scene, message, "Answer…")
        inputs = [row["component"] for row in again.response["components"]]
        assert [one.get("value") for one in inputs] == ["Ada", "200", "0.25", "2026-01-31"], "nothing is typed twice"
        assert [one["required"] for one in inputs] == [True, False, False, False]
        scene.ada.submits(again, {**typed, "1": "20"})
        content = {"name": "Ada", "age": 20, "ratio": 0.25, "day": "2026-01-31"}
        assert await replied(scene, thread) == {"action": "accept", "content": content}


async def test_a_secret_is_not_shown(tmp_path):
    field = {"type": "string", "title": "Token", "_meta": {"codex": {"isSecret": True}}}
    async with asks(tmp_path, form({"token": field})) as (scene, thread, message):
        scene.ada.submits(await opened(scene, message, "Answer…"), {"0": "hunter2"})
        assert await replied(scene, thread) == {"action": "accept", "content": {"token": "hunter2"}}
        assert "**Token**: (not shown here)" in message.content


async def test_more_than_five_texts_have_pages(tmp_path):
    async with asks(tmp_path, form(ALL, required=("t5",))) as (scene, thread, message):
        assert "Page 1 of 2" in message.content
        scene.ada.selects(message, custom_id(message, ":pick:0"), ["1"])
        missing = await scene.server.wait_for_answer(scene.ada.clicks(message, label="Send"))
        assert missing.answer_text == "**t5**: it needs an answer. Please try again."
        scene.ada.clicks(message, label="Next ▶")
        await scene.says(thread, "Page 2 of 2")
        scene.ada.submits(await opened(scene, message, "Fill in…"), {"6": "end"})
        await scene.says(thread, "✏️ `end`")
        assert [one["label"] for one in message.buttons] == ["Fill in…", "◀ Back", "Send", "Decline"]
        scene.ada.clicks(message, label="Send")
        assert await replied(scene, thread) == {"action": "accept", "content": {"flag": False, "t5": "end"}}


async def test_a_form_without_fields_is_sent_or_declined(tmp_path):
    async with asks(tmp_path, form({}, message="Go on?")) as (scene, thread, message):
        assert [one["label"] for one in message.buttons] == ["Send", "Decline"]
        scene.ada.clicks(message, label="Send")
        assert await replied(scene, thread) == {"action": "accept", "content": {}}


async def test_a_long_list_of_choices_is_typed(tmp_path):
    field = {"type": "string", "title": "Country", "enum": [f"Land {number}" for number in range(1, 61)]}
    async with asks(tmp_path, form({"country": field})) as (scene, thread, message):
        assert "30. Land 30\n… and 30 more. Type one of them, or its number." in message.content
        shown = await opened(scene, message, "Answer…")
        wrong = await scene.server.wait_for_answer(scene.ada.submits(shown, {"0": "Atlantis"}))
        assert "'Atlantis' isn't one of the choices" in wrong.answer_text
        scene.ada.submits(await opened(scene, message, "Answer…"), {"0": "land 60"})
        assert await replied(scene, thread) == {"action": "accept", "content": {"country": "Land 60"}}


async def test_an_address_is_shown_whole_with_its_host(tmp_path):
    url = "https://accounts.example.com/device?code=AB_CD*x*"
    params = {"mode": "url", "message": "Sign in", "url": url, "elicitationId": "e-1"}
    async with asks(tmp_path, params) as (scene, thread, message):
        assert f"at `accounts.example.com`:\n`{url}`" in message.content
        assert [one.get("url") for one in message.buttons] == [url, None, None]
        scene.ada.clicks(message, label="Done")
        assert await replied(scene, thread) == {"action": "accept"}
        assert message.content.startswith(f"✅ Marked as done by {scene.ada.mention}:")


def test_a_long_address_is_shown_whole_however_long_the_message_is():
    host = f"{'a' * 200}.example"
    url = f"https://{host}/".ljust(URL_MOST, "x")
    raw = {"mode": "url", "message": "*" * 4000, "url": url, "elicitationId": "e"}
    asked = ElicitationAsked(1, elicitation.decode(msgspec.Raw(msgspec.json.encode(raw))))
    question = Question("s-q1", asked, timeout_seconds=300, expires_at=1e9, on_resolved=lambda _question: None)
    text = ask_text(question, Layout(question.form), {}, 0, "1" * 20)
    assert f"`{host}`" in text
    assert f"`{url}`" in text
    assert "Waiting for" in text
    assert units(text) <= 2000


async def test_a_page_that_the_agent_reports_as_done_needs_no_click(tmp_path):
    params = {"mode": "url", "message": "Sign in", "url": "https://example.com", "elicitationId": "e-1"}
    gate = Gate(tmp_path / "gate")
    async with asks(tmp_path, params, gate.step, {"complete": "e-1"}) as (scene, thread, message):
        await gate.open()
        assert await replied(scene, thread) == {"action": "accept"}
        assert message.content.startswith("✅ The agent reports this is done:")
        assert message.components == []


@pytest.mark.parametrize(
    ("params", "why"),
    [
        (form({str(number): {"type": "string"} for number in range(1000)}), "its form has 1,000 fields"),
        (form({"x": {"type": "object", "properties": {}}}), "its form is of a kind that I don't know"),
        (
            {"mode": "url", "message": "m", "url": "javascript:1", "elicitationId": "e"},
            "I can't show its address safely",
        ),
        ({"mode": "_later", "message": "m"}, "it's of a kind that I don't know"),
    ],
    ids=["many fields", "nested", "address", "mode"],
)
async def test_what_can_not_be_shown_can_only_be_declined(tmp_path, params, why):
    async with asks(tmp_path, params) as (scene, thread, message):
        assert f"⚠️ It can't be answered here: {why}" in message.content
        assert [one["label"] for one in message.buttons] == ["Decline"]
        forged = custom_id(message, ":decline:0").replace("decline", "accept")
        await scene.server.wait_for_answer(scene.ada.sends_click(message, forged))
        assert scene.harness.row(str(thread.id)).state == "waiting"
        scene.ada.clicks(message, label="Decline")
        assert await replied(scene, thread) == {"action": "decline"}


async def test_long_texts_fit_into_a_message(tmp_path):
    long = "`@everyone` **x** " * 20
    choices = [{"const": str(number), "title": long, "description": long} for number in range(25)]
    fields = {
        f"f{number}": {"type": "string", "title": long, "description": long, "oneOf": choices} for number in range(4)
    }
    async with asks(tmp_path, form(fields, message=long)) as (scene, thread, message):
        assert len(message.content) <= 2000
        assert "more lines don't fit here" in message.content
        assert (message.mentions, message.mention_everyone) == ([scene.ada], False)
        scene.ada.selects(message, custom_id(message, ":pick:3"), ["24"])
        scene.ada.clicks(message, label="Send")
        assert await replied(scene, thread) == {"action": "accept", "content": {"f3": "24"}}


async def test_only_the_asker_and_admins_may_answer(tmp_path):
    async with asks(tmp_path, form(CLAUDE)) as (scene, thread, message):
        bob = await scene.server.wait_for_answer(scene.bob.clicks(message, label="Red"))
        assert f"Only {scene.ada.mention} or an admin" in bob.answer_text
        window = await scene.server.wait_for_answer(scene.bob.clicks(message, label="Something else…"))
        assert window.response_type == 4, "others get no window"
        eve = await scene.server.wait_for_answer(scene.eve.clicks(message, label="Red"))
        assert eve.answer_text == NOT_HERE
        assert scene.harness.row(str(thread.id)).state == "waiting"
        scene.ada.clicks(message, label="Red")
        await scene.idle(thread, 1)
        late = await scene.server.wait_for_answer(scene.ada.sends_click(message, red(message)))
        assert late.answer_text == f"This was already answered by {scene.ada.mention}."


def red(message: Message) -> str:
    return next(item["custom_id"] for item in message.versions[0].components[0]["components"])


async def test_an_operators_answer_is_shown(tmp_path):
    async with asks(tmp_path, form(CLAUDE)) as (scene, thread, message):
        questions = scene.pool.get(str(thread.id)).questions
        questions.answer(next(iter(questions.open)), "accept", {"question_0": "red"})
        await replied(scene, thread)
        assert message.content.startswith("✅ Answered by an admin:")


async def test_a_question_that_nobody_answers_in_time_says_so(tmp_path):
    async with asks(tmp_path, form(CLAUDE), limits={"timeout_seconds": 0.3}) as (scene, thread, message):
        assert await replied(scene, thread) == {"action": "cancel"}
        assert message.content == "⌛ Timed out:\n> Which color?"
        assert message.components == []


async def test_a_cancel_removes_the_buttons(tmp_path):
    async with asks(tmp_path, form(CLAUDE)) as (scene, thread, message):
        await scene.pool.cancel(str(thread.id))
        await scene.idle(thread, 1)
        assert message.content == "⏹️ No longer needed:\n> Which color?"
        assert message.components == []


async def test_old_buttons_from_before_a_restart_say_that_the_request_has_expired(tmp_path):
    async with asks(tmp_path, form(CLAUDE)) as (scene, _thread, message):
        await scene.restart()
        stale = await scene.server.wait_for_answer(scene.ada.clicks(message, label="Red"))
        await scene.server.wait_for(lambda: stale.answer_text)
        assert stale.answer_text == "This request has expired."
        assert message.buttons == []


async def test_a_question_is_cancelled_where_discord_takes_no_message(tmp_path):
    gate = Gate(tmp_path / "gate")
    steps = [says("first "), gate.step, {"elicit": form(CLAUDE)}, {"answered": True}, END]
    async with staged(tmp_path, limits={"argv": scripted(prompts=[steps])}) as scene:
        thread = await scene.opens("go on")
        await scene.says(thread, "first")
        scene.server.faults.status(400, "POST", rest.MESSAGES)
        await gate.open()
        await scene.says(thread, "I couldn't show the agent's question here, so it was cancelled")
        await scene.says(thread, '{"action": "cancel"}')
