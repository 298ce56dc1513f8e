"""A person mentions the bot, and an agent answers: the whole way, by the real client and the real agent."""

from __future__ import annotations

import gc

import pytest

from acpbot.chat.discord.turn_view import DiscordTurnView
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged


def digits(count: int) -> str:
    """What the agent says to `long COUNT`."""
    return "".join(f"{first:09d}\n" for first in range(0, count, 10))[:count]


async def test_a_mention_opens_a_thread_and_the_answer_is_complete(scene: Scene):
    message = scene.asks("long 7000\nplease")
    thread = await scene.server.wait_for_thread(scene.channel)
    assert (thread.id, thread.name) == (message.id, "long 7000")
    await scene.idle(thread, 1)
    contents = [one.content for one in scene.bodies(thread)]
    assert "\n".join(contents).startswith(digits(7000).strip())
    assert len(contents) == 4
    assert all(len(content) <= 2000 for content in contents)
    assert "You said: please" in contents[-1]


async def test_a_growing_answer_is_edited_at_the_pace_of_the_limits(tmp_path):
    limits = {"env": {"ACPBOT_DEMO_PACE": "0.01"}}
    async with staged(tmp_path, unit=0.05, limits=limits) as scene:
        thread = await scene.opens("stream 80")
        await scene.idle(thread, 1)
        (body,) = scene.bodies(thread)
    assert body.content.count("## A part") == 4
    assert len(body.versions) > 5
    lengths = [len(content) for content in body.contents]
    assert lengths == sorted(lengths)
    edits = scene.server.requests_to("PATCH", rest.MESSAGE)
    assert len(edits) < 40, "an edit for each chunk would be more than the limits allow"


async def test_the_text_after_five_messages_is_a_file(scene: Scene):
    thread = await scene.opens("long 30000")
    await scene.idle(thread, 1)
    *bodies, last = scene.bodies(thread)
    assert len(bodies) == 5
    assert [(one.filename, last.content) for one in last.attachments] == [("answer.txt", "")]
    shown, _, tail = "\n".join(body.content for body in bodies).rpartition("\n… ")
    assert tail == "The rest is in the attached file."
    assert (shown + "\n" + last.attachments[0].text.lstrip("\n")).strip() == digits(30000).strip()


async def test_without_the_permission_to_attach_the_rest_comes_as_messages(scene: Scene):
    scene.server.set_permissions(scene.channel, scene.guild.everyone, deny=["ATTACH_FILES"])
    thread = await scene.opens("long 15000")
    await scene.idle(thread, 1)
    assert all(not one.attachments for one in scene.bodies(thread))
    contents = [one.content.partition("\n… ")[0] for one in scene.bodies(thread)]
    assert "\n".join(contents).strip() == digits(15000).strip()


async def test_the_thread_goes_on_without_a_mention_and_answers_in_order(scene: Scene):
    thread = await scene.opens("remember one")
    await scene.idle(thread, 1)
    for words in ("remember two", "remember three", "recall"):
        scene.bob.says(thread, words)
    await scene.idle(thread, 4)
    assert scene.bodies(thread)[-1].content == "You told me to remember: one; two; three"
    assert scene.server.gateway.identifies == 1


async def test_tools_are_a_line_each_and_mentions_ping_nobody(scene: Scene):
    thread = await scene.opens(f'sleep 0; say "@everyone {scene.ada.mention}"')
    await scene.idle(thread, 1)
    (body,) = scene.bodies(thread)
    assert "✅" in body.content
    assert "sleep 0" in body.content
    assert "@everyone" in body.content
    assert not body.pings


async def test_the_reactions_come_in_order_and_one_at_a_time(scene: Scene):
    message = scene.asks("say first; tool echo hi; think; say last")
    thread = await scene.server.wait_for(lambda: message.thread)
    asked = await scene.server.wait_for_message(thread, lambda one: one.asks)
    await scene.server.wait_for(lambda: message.shown_reactions == ["👨‍💻"])
    scene.ada.clicks(asked, label="Allow")
    await scene.idle(thread, 1)
    shown: list[str] = []
    for event in message.reaction_log:
        assert event.user is scene.server.bot
        if event.added:
            shown.append(event.emoji)
        else:
            shown.remove(event.emoji)
        assert 1 <= len(shown) <= 2, "the next one comes before the last one goes"
    assert shown == ["🆗"]
    added = [event.emoji for event in message.reaction_log if event.added]
    assert "".join(added).removeprefix("👀") in {"👨‍💻🆗", "🤔👨‍💻🆗", "👨‍💻🤔🆗", "🤔👨‍💻🤔🆗"}


async def test_a_diff_is_shown_in_a_fence(scene: Scene):
    thread = await scene.opens("edit")
    await scene.idle(thread, 1)
    assert "```diff" in scene.text(thread)
    assert "-world" in scene.text(thread)


async def test_tables_are_converted(scene: Scene):
    thread = await scene.opens('say "| a | b |\\n|---|---|\\n| 1 | 2 |\\n\\nend"')
    await scene.idle(thread, 1)
    assert "```" in scene.text(thread)
    assert "end" in scene.text(thread)


@pytest.mark.parametrize(
    ("prompt", "words", "emoji"),
    [
        ("refuse", "The model declined this request.", "😱"),
        ("max", "model's output limit", "🆗"),
        ("error", "this is the error that you asked for", "😱"),
        ("stall 0", "finished without a reply", "🆗"),
    ],
)
async def test_every_kind_of_end_is_shown(scene: Scene, prompt, words, emoji):
    message = scene.asks(prompt)
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.idle(thread, 1)
    assert words in scene.text(thread)
    assert message.shown_reactions == [emoji]


async def test_a_crash_is_shown_once_and_the_thread_goes_on(scene: Scene):
    thread = await scene.opens("remember it; crash 3")
    words = "The agent crashed (exit code 3). Send a message to carry on where you left off."
    await scene.says(thread, words)
    await scene.idle(thread, 1)
    assert scene.text(thread).count("exit code 3") == 1
    scene.ada.says(thread, "say back")
    await scene.says(thread, "back")


async def test_the_agent_s_own_title_becomes_the_thread_s_name(scene: Scene):
    thread = await scene.opens("title Mending the tests")
    await scene.server.wait_for(lambda: thread.name == "Mending the tests")
    scene.ada.renames(thread, "mine")
    await scene.idle(thread, 1)
    scene.ada.says(thread, "title Another")
    await scene.idle(thread, 2)
    assert thread.name == "mine"


async def test_a_stop_is_shown_only_where_it_interrupts_a_turn(scene: Scene):
    idle = await scene.opens("say idle")
    await scene.idle(idle, 1)
    message = scene.asks("say busy; sleep 60")
    busy = await scene.server.wait_for(lambda: message.thread)
    await scene.says(busy, "busy")
    await scene.pool.close(grace_seconds=0.5)
    assert await scene.chat.outbox.flush(5)
    assert scene.text(idle) == "idle"
    ends = "I'm restarting, so this answer is incomplete. Send a message to carry on where you left off."
    assert scene.text(busy).endswith(ends)
    assert "Cancelled" not in scene.text(busy)
    assert scene.text(busy).count("I'm restarting") == 1


async def test_nothing_is_held_for_a_message_that_the_queue_refused(tmp_path):
    async with staged(tmp_path, limits={"max_queued": 1}) as scene:
        thread = await scene.opens("say first; sleep 60")
        await scene.says(thread, "first")
        scene.ada.says(thread, "say second")
        await scene.says(thread, "Queued")
        refused = scene.ada.says(thread, "say third")
        await scene.says(thread, "The queue is full")
        await scene.server.wait_for(lambda: refused.shown_reactions == ["😱"])
        gc.collect()
        views = [one for one in gc.get_objects() if isinstance(one, DiscordTurnView)]
        assert {view.incoming.text for view in views} == {"say first; sleep 60", "say second"}
