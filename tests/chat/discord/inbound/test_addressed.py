"""Whether a message is for the bot: after an edit, and where it begins with a mention of somebody else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from acpbot.chat.discord.discord_time import snowflake
from acpbot.chat.discord.inbound.recent_ids import MOST, RecentIds

if TYPE_CHECKING:
    from tests.support.discord_scene import Scene


async def test_an_edit_that_adds_the_mention_counts_as_a_message_once(scene: Scene):
    bot = scene.server.bot.mention
    message = scene.ada.says(scene.channel, "say one")
    await scene.opens("say other")
    scene.ada.edits(message, f"{bot} say one")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.says(thread, "one")
    await scene.idle(thread, 1)
    scene.ada.edits(message, f"{bot} say two")
    scene.ada.says(thread, "say three")
    await scene.idle(thread, 2)
    assert scene.text(thread) == "one\nthree"


async def test_an_edit_that_adds_the_mention_counts_in_a_persons_thread_and_for_strangers(scene: Scene):
    thread = scene.bob.starts_thread(scene.channel, "Red build")
    mine, theirs = scene.ada.says(thread, "say one"), scene.eve.says(thread, "say two")
    await scene.opens("say other")
    scene.ada.edits(mine, f"say one {scene.server.bot.mention}")
    scene.eve.edits(theirs, f"say two {scene.server.bot.mention}")
    await scene.says(thread, "one")
    await scene.server.wait_for(lambda: theirs.shown_reactions == ["🚫"])


async def test_an_edit_without_a_mention_and_a_preview_of_a_link_do_nothing(scene: Scene):
    message = scene.ada.says(scene.channel, "say one")
    other = await scene.opens("say other")
    scene.ada.edits(message, "say one more")
    scene.ada.says(other, "say end")
    await scene.says(other, "end")
    assert message.shown_reactions == []
    assert message.thread is None


@pytest.mark.parametrize(("age", "counts"), [(86_000, True), (86_500, False)])
async def test_an_edit_of_a_message_of_more_than_a_day_ago_does_nothing(scene: Scene, age, counts):
    message = scene.ada.says(scene.channel, "say one", id=snowflake(time.time() - age))
    other = await scene.opens("say other")
    scene.ada.edits(message, f"{scene.server.bot.mention} say one")
    scene.ada.says(other, "say end")
    await scene.says(other, "end")
    if counts:
        await scene.server.wait_for(lambda: message.thread)
    assert (message.thread is not None) is counts


async def test_an_edit_while_the_history_is_read_is_not_lost(scene: Scene):
    await scene.opens("say other")
    await scene.server.gateway.invalidate()
    scene.server.gateway.refuse()
    await scene.server.wait_for(lambda: not scene.server.gateway.connected)
    message = scene.ada.says(scene.channel, "say one")
    scene.server.gateway.accept()
    await scene.server.wait_until_connected()
    later = scene.asks("say later")
    scene.ada.edits(message, f"{scene.server.bot.mention} say one")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.says(thread, "one")
    await scene.server.wait_for(lambda: later.thread)


@pytest.mark.parametrize("kind", ["person", "bot", "role", "everybody"])
async def test_a_message_to_somebody_else_in_our_thread_is_no_prompt(scene: Scene, kind):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    other = {
        "person": scene.bob.mention,
        "bot": scene.server.make_webhook("other bot").mention,
        "role": scene.server.make_role(scene.guild, "reviewers").mention,
        "everybody": "@everyone",
    }[kind]
    aside = scene.ada.says(thread, f"{other} say two")
    asked = scene.ada.says(thread, f"{other} and {scene.server.bot.mention}: say three")
    inside = scene.ada.says(thread, f"say four, {other}")
    await scene.server.wait_for(lambda: asked.shown_reactions == inside.shown_reactions == ["🆗"])
    assert aside.shown_reactions == []


def test_of_many_ids_the_last_ones_are_kept():
    ids = RecentIds()
    for number in range(MOST + 5):
        ids.add(number)
    assert [ids.discard(number) for number in (0, 4, 5, MOST + 4)] == [False, False, True, True]
    assert not ids.discard(5)
