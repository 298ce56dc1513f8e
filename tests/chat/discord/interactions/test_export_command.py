"""/export: the thread as a Markdown file, for the one who asks."""

from __future__ import annotations

import pytest

from acpbot.chat.discord.interactions import export_text
from acpbot.chat.discord.interactions.command_text import NO_SESSION
from acpbot.chat.discord.interactions.export_command import MESSAGES_MOST, NO_ANSWER, NOT_READABLE, NOT_YOUR_HISTORY
from acpbot.chat.discord.interactions.export_text import OLDER_LEFT_OUT
from acpbot.chat.discord.interactions.upload_slots import BUSY, UPLOADS_MOST
from acpbot.text import size_words
from tests.chat.discord.interactions.test_commands import answer_to
from tests.fakes.discord import rest
from tests.fakes.discord.state import Message
from tests.support.discord_scene import Scene, staged


async def exported(scene: Scene, thread, who=None) -> tuple[str, str, str]:
    """The answer, and the file's name and text."""
    asked = (who or scene.ada).slash("export", {}, channel=thread)
    answer = await scene.server.wait_for_answer(asked, seconds=10)
    await scene.server.wait_for(lambda: answer.answer_text)
    (message,) = answer.messages
    assert message.ephemeral
    (file,) = message.attachments
    return answer.answer_text, file.filename, file.data.decode()


async def test_an_export_has_the_messages_with_authors_times_names_tools_and_files(scene: Scene):
    thread = await scene.opens("say **hello**; tool echo hi")
    question = await scene.server.wait_for_message(thread, lambda message: message.asks)
    scene.ada.clicks(question, label="Allow")
    await scene.idle(thread, 1)
    scene.bob.says(
        thread,
        f"look, {scene.ada.mention} in {scene.channel.mention}",
        attachments={"log.txt": "boom"},
        mentions=[scene.ada],
    )
    await answer_to(scene, "status", thread)
    text, name, content = await exported(scene, thread, scene.bob)
    assert text.startswith("This conversation as Markdown: ")
    assert text.endswith(" Only you can see it.")
    assert name == "say-hello-tool-echo-hi.md"
    first, *messages = content.split("\n\n---\n\n")
    assert first.splitlines()[0].startswith("# say")
    assert messages[0].startswith("**Ada** · ")
    assert messages[0].endswith(" UTC\n\n@acpbot say **hello**; tool echo hi")
    assert any(one.startswith("**acpbot (bot)** · ") and "`echo hi`" in one for one in messages)
    assert any("hello" in one and one.startswith("**acpbot") for one in messages)
    by_bob = next(one for one in messages if one.startswith("**Bob**"))
    assert "look, @Ada in #general\n\n- 📎 log.txt (4 bytes)" in by_bob
    assert "working" not in content, "what only one person saw is in no export"
    assert f"{len(messages)} messages" in text


def fill(scene: Scene, thread, count: int) -> None:
    """Messages of the bot that nobody is told of."""
    for number in range(count):
        message = Message(scene.server.world.snowflake(), thread, scene.server.bot, f"line {number}.")
        message.keep_version()
        thread.messages[message.id] = message


async def test_a_long_thread_is_read_over_several_pages(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    fill(scene, thread, 230)
    text, _, content = await exported(scene, thread)
    assert content.index("line 0.") < content.index("line 229.")
    assert "232 messages" in text
    assert content.startswith("# say first\n\n232 messages, exported at ")
    assert OLDER_LEFT_OUT not in content


async def test_of_a_thread_that_is_too_long_the_newest_messages_are_there_and_it_says_so(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    fill(scene, thread, MESSAGES_MOST + 1)
    text, _, content = await exported(scene, thread)
    assert text.endswith(f"2,000 messages, {size_words(len(content.encode()))}. Only you can see it. {OLDER_LEFT_OUT}")
    assert OLDER_LEFT_OUT in content.partition("---")[0]
    assert f"line {MESSAGES_MOST}." in content
    assert "line 1." in content
    assert "line 0." not in content


async def test_what_discord_does_not_give_is_said_to_be_missing(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    for number in range(120):
        scene.server.world.post(thread, scene.server.bot, f"line {number}")
    seen = len(scene.server.requests_to("GET", rest.MESSAGES))
    scene.server.faults.status(503, "GET", rest.MESSAGES, times=3)
    assert await answer_to(scene, "export", thread) == NO_ANSWER
    scene.server.faults.status(403, "GET", rest.MESSAGES)
    assert await answer_to(scene, "export", thread) == NOT_READABLE
    assert len(scene.server.requests_to("GET", rest.MESSAGES)) > seen


async def test_who_may_not_read_the_history_gets_no_export_and_neither_does_a_channel(scene: Scene):
    assert await answer_to(scene, "export", scene.channel) == NO_SESSION
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    scene.server.world.set_overwrite(scene.channel, scene.ada, deny=["READ_MESSAGE_HISTORY"])
    assert await answer_to(scene, "export", thread) == NOT_YOUR_HISTORY


@pytest.mark.parametrize(("title", "name"), [("a/b: c?", "a-b-c.md"), ("../..", "7.md"), ("über uns", "über-uns.md")])
def test_the_name_of_the_file_is_one_that_every_system_takes(title, name):
    assert export_text.file_name(title, "7") == name


async def test_only_a_few_files_wait_for_their_readers_at_once(tmp_path):
    async with staged(tmp_path, prompt=0.02) as scene:
        thread = await scene.opens("say first")
        await scene.idle(thread, 1)
        held = scene.server.faults.hold("GET", rest.MESSAGES, times=UPLOADS_MOST)
        waiting = [scene.ada.slash("export", {}, channel=thread) for _ in range(UPLOADS_MOST)]
        await scene.server.wait_for(lambda: all(one.deferred for one in waiting), what="deferrals")
        assert await answer_to(scene, "export", thread) == BUSY
        held.release()
        await scene.server.wait_for(lambda: all(one.answer_text for one in waiting), what="the exports")
        await exported(scene, thread)
