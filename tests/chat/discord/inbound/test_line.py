"""Tasks that find all agents busy: they wait in line, are told their place, and none is lost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from acpbot.chat.discord.inbound.intake import RESTARTING
from acpbot.chat.discord.inbound.recheck import LOST_ACCESS
from acpbot.chat.discord.interactions.command_text import LEFT_LINE, THREAD_LEFT_LINE
from acpbot.chat.thread_commands import IN_LINE
from tests.chat.discord.inbound.test_backfill import away
from tests.chat.discord.interactions.test_commands import answer_to
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.discord.people import Author
    from tests.fakes.discord.state import Channel, Message

NEXT = "👀 My only agent is busy. You're number 1 in line."


@pytest.fixture
async def full(tmp_path) -> AsyncIterator[Scene]:
    """A scene whose only agent works until it is cancelled."""
    async with staged(tmp_path, limits={"max_sessions": 1}) as scene:
        thread = await scene.opens("say first; stall 60")
        await scene.says(thread, "first")
        yield scene


async def waits(scene: Scene, who: Author, text: str) -> tuple[Message, Channel]:
    """A mention in the channel, and the thread in which it waits."""
    asked = scene.asks(text, who)
    thread = await scene.server.wait_for(lambda: asked.thread)
    await scene.says(thread, "in line")
    return asked, thread


async def cancel_the_first(scene: Scene) -> None:
    (row,) = scene.pool.rows()
    await scene.pool.cancel(row.thread_id)


async def test_tasks_beyond_the_limit_are_told_their_place_which_counts_down_and_are_answered(full: Scene):
    asked, second = await waits(full, full.bob, "say second; stall 60")
    _, third = await waits(full, full.ada, "say third")
    assert full.text(second) == NEXT
    assert full.text(third) == "👀 My only agent is busy. You're number 2 in line."
    await full.server.wait_for(lambda: asked.shown_reactions == ["👀"])
    await cancel_the_first(full)
    await full.says(second, "second")
    await full.says(third, NEXT)
    await cancel_the_first(full)
    await full.idle(third, 1)
    assert full.text(third) == "third"
    assert full.text(second) == "second\n⏹️ Cancelled."


async def test_all_messages_that_were_written_during_an_outage_are_answered(tmp_path):
    async with staged(tmp_path, limits={"max_sessions": 2}) as scene:
        async with away(scene):
            missed = [scene.asks(f"say number {number}", (scene.ada, scene.bob)[number % 2]) for number in range(5)]
        for number, message in enumerate(missed):
            thread = await scene.server.wait_for(partial(getattr, message, "thread"))
            await scene.idle(thread, 1)
            assert scene.text(thread) == f"number {number}"


@pytest.mark.parametrize("how", ["cancel", "delete", "delete thread"])
async def test_who_asked_takes_a_task_out_of_the_line(full: Scene, how):
    asked, thread = await waits(full, full.bob, "say never")
    _, other = await waits(full, full.ada, "say other")
    if how == "cancel":
        assert "Only" in await answer_to(full, "cancel", other, full.bob)
        assert IN_LINE in await answer_to(full, "status", thread, full.bob)
        assert await answer_to(full, "cancel", thread, full.bob) == LEFT_LINE
    elif how == "delete":
        full.bob.deletes(asked)
    else:
        full.bob.deletes_thread(thread)
    await full.says(other, NEXT)
    await cancel_the_first(full)
    await full.idle(other, 1)
    assert full.text(other) == "other"
    assert how == "delete thread" or "never" not in full.text(thread)
    if how == "cancel":
        assert full.text(thread) == f"⏹️ Taken out of the line by {full.bob.mention}."
    elif how == "delete":
        assert full.text(thread) == ""


async def test_who_waits_in_a_thread_reads_who_has_taken_the_message_out_of_the_line(tmp_path):
    async with staged(tmp_path, limits={"max_sessions": 1}, setup=_admin_is_bob) as full:
        await full.says(await full.opens("say first; stall 60"), "first")
        asked, thread = await waits(full, full.ada, "say never")
        later = full.ada.says(thread, "say never either")
        await full.says(thread, "Queued, 1 ahead of you.")
        assert await answer_to(full, "cancel", thread, full.bob) == THREAD_LEFT_LINE
        note = f"⏹️ Taken out of the line by {full.bob.mention}."
        await full.says(thread, f"{note}\n{note}")
        # The note about its place goes after that.
        await full.server.wait_for(lambda: [one.referenced for one in full.bodies(thread)] == [None, later])
        await full.server.wait_for(lambda: not asked.shown_reactions and not later.shown_reactions)


def _admin_is_bob(scene: Scene) -> dict[str, Any]:
    return {"admin_users": (str(scene.bob.id),)}


async def test_who_has_lost_access_does_not_run_and_leaves_the_line(full: Scene):
    _, gone = await waits(full, full.bob, "say never")
    _, other = await waits(full, full.ada, "say other")
    discord = structs.replace(full.chat.settings.discord, allowed_users=(str(full.ada.id),))
    full.chat.reconfigure(structs.replace(full.settings, discord=discord))
    full.pool.reconfigure(full.harness.settings)
    await full.says(gone, LOST_ACCESS)
    await full.says(other, NEXT)
    assert full.text(gone) == f"😱 {LOST_ACCESS}"


async def test_a_reload_ends_the_running_turn_of_somebody_who_is_taken_out(full: Scene):
    (row,) = full.pool.rows()
    discord = structs.replace(full.chat.settings.discord, allowed_users=(str(full.bob.id),))
    full.chat.reconfigure(structs.replace(full.settings, discord=discord))
    full.pool.reconfigure(full.harness.settings)
    (thread,) = full.server.threads_of(full.channel)
    await full.says(thread, f"first\n⏹️ {LOST_ACCESS}")
    assert full.harness.row(row.thread_id).state == "idle"


async def test_a_reset_keeps_what_waits_in_the_thread(scene: Scene):
    thread = await scene.opens("say first; stall 60")
    await scene.says(thread, "first")
    before = scene.harness.row(str(thread.id)).session_id
    waiting = [scene.ada.says(thread, f"say {word}") for word in ("second", "third")]
    await scene.says(thread, "2 ahead of you")
    assert "Done" in await answer_to(scene, "reset", thread)
    await scene.says(thread, "second", "third")
    await scene.idle(thread, 2)
    assert scene.harness.row(str(thread.id)).session_id != before
    assert [one.shown_reactions for one in waiting] == [["🆗"], ["🆗"]]


async def test_another_agent_takes_over_what_waits_in_the_thread(scene: Scene):
    scene.harness.offer_agents("demo", "other")
    thread = await scene.opens("say first; stall 60")
    await scene.says(thread, "first")
    scene.ada.says(thread, "say second")
    await scene.says(thread, "1 ahead of you")
    assert "other" in await answer_to(scene, "agent", thread, name="other")
    await scene.says(thread, "second")
    assert scene.harness.row(str(thread.id)).agent == "other"


async def test_during_a_drain_people_are_told_once_and_their_messages_are_answered_afterwards(scene: Scene):
    scene.pool.draining = True
    scene.asks("say one")
    last = scene.asks("say two", scene.bob)
    await scene.server.wait_for(lambda: any(one.content == RESTARTING for one in scene.bodies(scene.channel)))
    scene.pool.draining = False
    scene.chat.go_on()
    thread = await scene.server.wait_for(lambda: last.thread)
    await scene.says(thread, "two")
    assert scene.text(scene.channel).count(RESTARTING) == 1
