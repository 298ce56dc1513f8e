"""People who may not use the bot, and floods of those who may: they keep nobody else waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.chat.discord.interactions.command_text import NOT_HERE
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.state import Message


def denied(messages: list[Message]) -> int:
    assert all(one.shown_reactions in ([], ["🚫"]) for one in messages)
    return sum(one.shown_reactions == ["🚫"] for one in messages)


async def test_150_mentions_of_a_stranger_get_one_reaction_and_delay_nobody(scene: Scene):
    mentions = [scene.asks(f"say no {number}", scene.eve) for number in range(150)]
    asked = scene.asks("say yes")
    thread = await scene.server.wait_for(lambda: asked.thread)
    await scene.says(thread, "yes")
    await scene.idle(thread, 1)
    assert asked.shown_reactions == ["🆗"]
    assert denied(mentions) == 1
    assert mentions[0].shown_reactions == ["🚫"]
    assert len([call for call in scene.server.requests if "%F0%9F%9A%AB" in call.path or "🚫" in call.path]) == 1
    scene.clock.ahead += 61
    later = scene.asks("say no again", scene.eve)
    await scene.server.wait_for(lambda: later.shown_reactions == ["🚫"])


async def test_a_stranger_in_many_channels_gets_a_few_reactions(scene: Scene):
    channels = [scene.server.make_channel(scene.guild, f"c{number}") for number in range(50)]
    mentions = [scene.eve.says(channel, "say no", mentions=[scene.server.bot]) for channel in channels]
    thread = await scene.opens("say yes")
    await scene.idle(thread, 1)
    assert denied(mentions) == 5


async def test_a_stranger_who_is_denied_is_no_reason_not_to_deny_another(scene: Scene):
    fay = scene.server.make_user("fay", scene.guild)
    for _ in range(20):
        scene.asks("say no", scene.eve)
    other = scene.asks("say no", fay)
    await scene.server.wait_for(lambda: other.shown_reactions == ["🚫"])


async def test_a_strangers_clicks_and_commands_get_five_answers_a_minute(scene: Scene):
    thread = await scene.opens("tool echo hi")
    message = await scene.server.wait_for_message(thread, lambda one: one.asks)
    clicks = [scene.eve.clicks(message, label="Allow") for _ in range(3)]
    given = [scene.eve.slash("reset", {}, channel=thread) for _ in range(20)]
    typed = [scene.eve.autocompletes("agent", "name", "d", channel=thread) for _ in range(20)]
    status = scene.ada.slash("status", channel=thread)
    await scene.server.wait_for_answer(status)
    assert "waiting for permission" in status.answer_text
    answered = [one for one in (*clicks, *given) if one.answered]
    assert {one.answer_text for one in answered} == {NOT_HERE}
    assert len(answered) == 5
    assert not any(one.answered for one in typed)
    assert len(scene.server.requests_to("POST", rest.CALLBACK)) == 6
    assert scene.harness.row(str(thread.id)).state == "waiting"


async def test_a_flood_of_somebody_who_may_write_is_refused_in_one_sentence(tmp_path):
    async with staged(tmp_path, limits={"max_queued": 2}) as scene:
        thread = await scene.opens("say first; stall 60")
        await scene.says(thread, "first")
        flood = [scene.bob.says(thread, f"say {number}") for number in range(60)]
        status = scene.ada.slash("status", channel=thread)
        await scene.server.wait_for_answer(status)
        await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).queued == 2)
        assert await scene.chat.outbox.flush(10)
        refusals = [one for one in scene.bodies(thread) if "wait" in one.content]
        assert len(refusals) == 1
        shown = [one.shown_reactions for one in flood[2:]]
        assert all(reactions in ([], ["😱"]) for reactions in shown)
        assert 1 <= shown.count(["😱"]) <= 4
        await scene.pool.cancel(str(thread.id))
        await scene.idle(thread, 3)


async def test_mentions_without_a_task_are_explained_once(scene: Scene):
    for _ in range(20):
        scene.asks("")
    thread = await scene.opens("say yes")
    await scene.idle(thread, 1)
    assert await scene.chat.outbox.flush(10)
    assert sum("Mention me with a task" in one.content for one in scene.bodies(scene.channel)) == 1


async def test_the_thread_of_one_person_does_not_wait_for_many_of_another(scene: Scene):
    first = scene.server.faults.hold("POST", rest.MESSAGE_THREADS)
    mentions = [scene.asks(f"say {number}") for number in range(8)]
    await first.arrived.wait()
    other = scene.asks("say other", scene.bob)
    await scene.server.wait_for(lambda: other.shown_reactions == ["👀"])
    first.release()
    last = await scene.server.wait_for(lambda: mentions[-1].thread)
    await scene.says(last, "7")
    opened = [call.number("message_id") for call in scene.server.requests_to("POST", rest.MESSAGE_THREADS)]
    assert len(opened) == 9
    assert opened.index(other.id) == 1
