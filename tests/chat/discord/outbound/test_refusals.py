"""Permissions that the bot loses in the middle of a turn: nothing hangs, and somebody reads of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chat.discord.outbound.test_turns import digits
from tests.fakes.discord import errors, rest

if TYPE_CHECKING:
    from tests.fakes.discord.rest import Call
    from tests.support.discord_scene import Scene

SEND = "SEND_MESSAGES_IN_THREADS"


def deny(scene: Scene, *permissions: str) -> None:
    scene.server.set_permissions(scene.channel, scene.server.bot, deny=permissions)


def allow(scene: Scene) -> None:
    scene.server.set_permissions(scene.channel, scene.server.bot)


async def goes_on(scene: Scene) -> None:
    """Another message gets its answer."""
    message = scene.asks("say and on we go")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.says(thread, "and on we go")


async def test_a_permission_that_is_back_before_the_end_loses_no_text(scene: Scene):
    thread = await scene.opens("stall 0.1; long 5000; stall 0.3; say last")
    deny(scene, SEND)
    sends = scene.server.requests_to
    await scene.server.wait_for(lambda: any(call.status == 403 for call in sends("POST", rest.MESSAGES)))
    allow(scene)
    await scene.idle(thread, 1)
    assert "\n".join(one.content for one in scene.bodies(thread)) == f"{digits(5000)}last"


async def test_a_lost_permission_is_reported_in_the_channel(scene: Scene):
    message = scene.asks("stall 0.1; say lost")
    thread = await scene.server.wait_for(lambda: message.thread)
    deny(scene, SEND)
    await scene.idle(thread, 1)
    report = await scene.server.wait_for_message(scene.channel)
    assert report.content == (
        f"😱 {scene.ada.mention} I couldn't post my whole answer in {thread.mention} because "
        "I need this permission: **Send Messages in Threads**. Grant it and ask again."
    )
    assert not report.pings
    await scene.server.wait_for(lambda: message.shown_reactions == ["😱"])
    allow(scene)
    scene.ada.says(thread, "say again")
    await scene.says(thread, "again")
    assert len(scene.bodies(scene.channel)) == 1


async def test_a_locked_thread_is_reported_in_the_channel(scene: Scene):
    thread = await scene.opens("say one; stall 0.1; long 3000")
    await scene.says(thread, "one")
    scene.ada.archives(thread, locked=True)
    await scene.idle(thread, 1)
    report = await scene.server.wait_for_message(scene.channel)
    assert f"I couldn't post my whole answer in {thread.mention} because it's locked." in report.content
    await goes_on(scene)


@pytest.mark.parametrize("growing", [False, True])
async def test_a_thread_that_is_locked_in_other_words_is_reported_too(scene: Scene, growing):
    thread = await scene.opens("say one; stall 0.2; say and two" if growing else "say one")
    await scene.says(thread, "one")

    def is_here(call: Call) -> bool:
        return call.params["channel_id"] == str(thread.id)

    for method, route in (("POST", rest.MESSAGES), ("PATCH", rest.MESSAGE)):
        body = errors.thread_locked().body()
        scene.server.faults.status(400, method, route, body=body, times=1 << 30, where=is_here)
    if not growing:
        scene.ada.says(thread, "say three")
    report = await scene.server.wait_for_message(scene.channel)
    assert f"I couldn't post my whole answer in {thread.mention} because it's locked." in report.content
    await goes_on(scene)


async def test_a_deleted_thread_ends_its_turn_without_a_report(scene: Scene):
    message = scene.asks("say one; sleep 60")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.says(thread, "one", "sleep 60")
    scene.ada.deletes_thread(thread)
    await scene.server.wait_for(lambda: not scene.pool.rows(suspended=True), seconds=10, what="no session")
    assert await scene.chat.outbox.flush(5)
    await goes_on(scene)
    assert scene.bodies(scene.channel) == []


async def test_other_channels_go_on_when_one_becomes_invisible(scene: Scene):
    other = scene.server.make_channel(scene.guild, "other")
    thread = await scene.opens("say one; stall 0.1; say two")
    await scene.says(thread, "one")
    deny(scene, "VIEW_CHANNEL")
    message = scene.ada.says(other, "say there", mentions=[scene.server.bot])
    there = await scene.server.wait_for(lambda: message.thread)
    await scene.says(there, "there")
    await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).turns == 1)
    session = scene.harness.row(str(thread.id)).session_id
    assert await scene.chat.outbox.flush(5)
    allow(scene)
    scene.ada.says(thread, "say three")
    await scene.says(thread, "three")
    assert scene.harness.row(str(thread.id)).session_id == session


async def test_a_permission_is_rejected_where_nobody_can_be_asked(scene: Scene):
    scene.server.faults.status(
        403, "POST", rest.MESSAGES, times=2, where=lambda call: "acpbot:" in str(call.body["components"])
    )
    thread = await scene.opens("tool echo hi")
    await scene.says(thread, "You didn't allow it, so nothing was run.")
    await scene.says(thread, "❌ I couldn't ask for this permission here, so it was rejected: `echo hi`")


async def test_a_permission_prompt_that_is_refused_once_is_posted_again(scene: Scene):
    scene.server.faults.status(403, "POST", rest.MESSAGES, where=lambda call: "acpbot:" in str(call.body["components"]))
    thread = await scene.opens("tool echo hi")
    ask = await scene.server.wait_for_message(thread, lambda one: one.asks)
    scene.ada.clicks(ask, label="Allow")
    await scene.says(thread, "The command completed: hi")


async def test_an_answer_is_delivered_without_reactions(scene: Scene):
    deny(scene, "ADD_REACTIONS")
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    scene.ada.says(thread, "say two")
    await scene.idle(thread, 2)
    assert scene.text(thread) == "one\ntwo"
