"""Texts that Discord does not take, and links in those that it takes: nothing is lost, and nothing is called done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from acpbot.chat.discord.outbound.channel_queue import AS_FILE, NOT_TAKEN
from tests.chat.discord.outbound.test_turns import digits
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.faults import Fault
    from tests.fakes.discord.rest import Call

HARMFUL: dict[str, Any] = {"code": 240000, "message": "Message blocked by harmful links filter"}
INVALID: dict[str, Any] = {"code": 50035, "message": "Invalid Form Body"}
AUTOMOD: dict[str, Any] = {"code": 200000, "message": "Message was blocked by automatic moderation"}


def block(scene: Scene, words: str, body: dict[str, Any] = HARMFUL, status: int = 400) -> list[Fault]:
    """Discord refuses each message, and each edit, whose text holds these words."""

    def holds(call: Call) -> bool:
        return words in call.json.get("content", "")

    faults = scene.server.faults
    routes = (("POST", rest.MESSAGES), ("PATCH", rest.MESSAGE))
    return [faults.status(status, *route, body=body, times=10**6, where=holds) for route in routes]


@pytest.mark.parametrize(("status", "body"), [(400, HARMFUL), (400, INVALID), (403, AUTOMOD)])
async def test_an_answer_that_discord_refuses_comes_as_a_file(scene: Scene, status: int, body: dict[str, Any]):
    block(scene, "bad", body, status)
    message = scene.asks("say bad-word")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.idle(thread, 1)
    (only,) = scene.bodies(thread)
    assert only.content == AS_FILE
    assert [one.text for one in only.attachments] == ["bad-word"]
    assert message.shown_reactions == ["😱"]


async def test_an_answer_that_is_refused_while_it_grows_is_whole_in_the_file(scene: Scene):
    block(scene, "bad")
    message = scene.asks("say good, ; stall 0.05; say bad, ; stall 0.05; say last")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.idle(thread, 1)
    last = scene.bodies(thread)[-1]
    assert (last.content, [one.text for one in last.attachments]) == (AS_FILE, ["good,bad,last"])
    assert message.shown_reactions == ["😱"]


async def test_a_refused_part_of_a_long_answer_keeps_its_place(scene: Scene):
    block(scene, digits(2200)[-50:])
    message = scene.asks("long 5000")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.idle(thread, 1)
    texts = [one.attachments[0].text if one.attachments else one.content for one in scene.bodies(thread)]
    assert "\n".join(texts).strip() == digits(5000).strip()
    assert message.shown_reactions == ["😱"]


async def test_a_file_that_is_refused_as_well_is_named(scene: Scene):
    block(scene, "bad")
    block(scene, AS_FILE)
    message = scene.asks("say bad-word")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.idle(thread, 1)
    assert scene.text(thread) == NOT_TAKEN
    assert message.shown_reactions == ["😱"]


async def test_a_thread_in_which_discord_takes_no_text_costs_a_few_requests(scene: Scene):
    block(scene, "", {"code": 0, "message": "400: Bad Request"})
    message = scene.asks("say one; stall 0.05; say two")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.idle(thread, 1)
    assert scene.bodies(thread) == []
    await scene.server.wait_for(lambda: message.shown_reactions == ["😱"])
    assert len(scene.server.requests_to("POST", rest.MESSAGES)) < 10


async def test_an_answer_is_called_done_after_its_last_part_is_there(scene: Scene):
    last = scene.server.faults.hold("POST", rest.MESSAGES, where=lambda call: bool(call.uploads))
    message = scene.asks("long 15000")
    thread = await scene.server.wait_for(lambda: message.thread)
    await last.arrived.wait()
    assert len(scene.bodies(thread)) == 5
    assert "🆗" not in message.shown_reactions
    last.release()
    await scene.idle(thread, 1)
    assert message.shown_reactions == ["🆗"]


async def test_an_answer_takes_as_many_messages_as_are_configured(tmp_path):
    async with staged(tmp_path, answer_messages=2) as scene:
        thread = await scene.opens("long 9000")
        await scene.idle(thread, 1)
        assert [len(one.attachments) for one in scene.bodies(thread)] == [0, 0, 1]


@pytest.mark.parametrize(("previews", "flags"), [(False, 4), (True, 0)])
async def test_links_have_previews_where_they_are_configured(tmp_path, previews: bool, flags: int):
    async with staged(tmp_path, link_previews=previews) as scene:
        thread = await scene.opens("say https://example.com")
        await scene.idle(thread, 1)
        (call,) = scene.server.requests_to("POST", rest.MESSAGES)
        assert call.json.get("flags", 0) == flags


async def test_a_thread_is_archived_after_the_configured_time(tmp_path):
    async with staged(tmp_path, auto_archive_minutes=60) as scene:
        thread = await scene.opens("say one")
        await scene.idle(thread, 1)
        assert thread.auto_archive == 60


async def test_an_answer_whose_end_is_refused_keeps_no_stop_button(scene: Scene):
    block(scene, "bad")
    thread = await scene.opens("say good; stall 0.2; say and a bad word")
    await scene.idle(thread, 1)
    assert not any(one.buttons for one in scene.bodies(thread))
    assert any("a bad word" in file.text for one in scene.bodies(thread) for file in one.attachments)


async def test_an_answer_with_buttons_that_is_refused_comes_as_a_file(scene: Scene):
    block(scene, "bad")
    thread = await scene.opens("sleep 0; sleep 0; sleep 0; sleep 0; say a bad word")
    await scene.idle(thread, 1)
    assert any("a bad word" in file.text for one in scene.bodies(thread) for file in one.attachments)
