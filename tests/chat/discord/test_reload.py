"""Other settings for a chat that goes on: the next message, click and answer are held to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from acpbot.chat.discord.inbound.recheck import NO_ACCESS
from acpbot.chat.discord.interactions.command_text import NOT_HERE
from acpbot.config.settings import MarkdownSettings

if TYPE_CHECKING:
    from tests.support.discord_scene import Scene


def reconfigure(scene: Scene, *, discord: dict | None = None, reactions: dict | None = None, **tables) -> None:
    before = scene.chat.settings
    scene.chat.reconfigure(
        structs.replace(
            scene.settings,
            discord=structs.replace(before.discord, **(discord or {})),
            reactions=structs.replace(before.reactions, **(reactions or {})),
            **tables,
        )
    )


async def test_other_allowed_users_apply_from_the_next_message_on(scene: Scene):
    denied = scene.asks("say no", scene.eve)
    await scene.server.wait_for(lambda: denied.shown_reactions == ["🚫"])
    reconfigure(scene, discord={"allowed_users": (str(scene.eve.id),)})
    scene.asks("say welcome", scene.eve)
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.says(thread, "welcome")
    denied = scene.asks("say no")
    await scene.server.wait_for(lambda: denied.shown_reactions == ["🚫"])
    command = scene.ada.slash("status", channel=scene.channel)
    assert (await scene.server.wait_for_answer(command)).answer_text == NOT_HERE


async def test_messages_that_wait_end_with_a_notice_where_their_author_is_taken_out(scene: Scene):
    thread = await scene.opens("say first; stall 60")
    await scene.says(thread, "first")
    for who, text in ((scene.bob, "say one of bob"), (scene.bob, "say two of bob"), (scene.ada, "say ada goes on")):
        who.says(thread, text)
    await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).queued == 3)
    reconfigure(scene, discord={"allowed_users": (str(scene.ada.id),)})
    await scene.pool.cancel(str(thread.id))
    await scene.says(thread, "ada goes on")
    assert await scene.chat.outbox.flush(5)
    assert scene.text(thread).count(NO_ACCESS) == 2
    assert "of bob" not in scene.text(thread)


async def test_a_channel_that_is_taken_out_takes_its_waiting_messages_along(scene: Scene):
    thread = await scene.opens("say first; stall 60")
    await scene.says(thread, "first")
    scene.ada.says(thread, "say second")
    await scene.says(thread, "Queued")
    reconfigure(scene, discord={"allow_all_channels": False, "allowed_channels": ("1",)})
    await scene.pool.cancel(str(thread.id))
    await scene.says(thread, NO_ACCESS)


async def test_a_new_admin_may_answer_an_older_permission_request(scene: Scene):
    thread = await scene.opens("tool echo hi")
    message = await scene.server.wait_for_message(thread, lambda one: one.asks)
    refused = await scene.server.wait_for_answer(scene.bob.clicks(message, label="Allow"))
    assert "or an admin" in refused.answer_text
    reconfigure(scene, discord={"admin_users": (str(scene.bob.id),)})
    scene.bob.clicks(message, label="Allow")
    await scene.says(thread, "The command completed: hi")


async def test_other_display_settings_apply_from_the_next_turn_on(scene: Scene):
    first = scene.asks("say a; plan; tool echo")
    thread = await scene.server.wait_for_thread(scene.channel)
    message = await scene.server.wait_for_message(thread, lambda one: one.asks)
    reconfigure(
        scene,
        discord={"tool_display": "none"},
        reactions={"enabled": False},
        markdown=MarkdownSettings(tables="off"),
    )
    scene.ada.clicks(message, label="Always allow")
    await scene.idle(thread, 1)
    assert first.shown_reactions == ["🆗"]
    assert "✅ `echo`" in scene.text(thread)
    second = scene.ada.says(thread, 'tool echo; say "| a | b |\\n|---|---|\\n| 1 | 2 |"')
    await scene.idle(thread, 2)
    assert second.shown_reactions == []
    assert (
        scene.text(thread).count("`echo`") == 3
    )  # the line of the first turn, its question, and what an Always answers
    assert "|---|---|" in scene.text(thread)


async def test_a_new_limit_of_bot_turns_applies(scene: Scene):
    reconfigure(scene, discord={"allow_bot_messages": "all", "max_bot_turns": 1})
    robot = scene.server.make_user("robot", scene.guild)
    robot.bot = True
    first = scene.asks("say one", robot)
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.says(thread, "one")
    second = scene.asks("say two", robot)
    await scene.server.wait_for(lambda: second.shown_reactions == ["🚫"])
    assert first.shown_reactions != ["🚫"]


async def test_settings_without_discord_are_refused(scene: Scene):
    with pytest.raises(ValueError, match=r"no \[discord\]"):
        scene.chat.reconfigure(structs.replace(scene.settings, discord=None))


async def test_the_footer_of_an_answer_follows_the_setting(scene: Scene):
    reconfigure(scene, discord={"footer": True})
    thread = await scene.opens("say hello")
    await scene.says(thread, "hello\n-# demo · ")
    await scene.idle(thread, 1)
    assert len(scene.bodies(thread)) == 1
    assert " tokens (" in scene.text(thread)
    reconfigure(scene, discord={"footer": False})
    scene.ada.says(thread, "say without")
    await scene.idle(thread, 2)
    assert scene.bodies(thread)[-1].content == "without"


async def test_an_error_without_text_has_no_footer(scene: Scene):
    reconfigure(scene, discord={"footer": True})
    thread = await scene.opens("error")
    await scene.idle(thread, 1)
    assert "-#" not in scene.text(thread)
