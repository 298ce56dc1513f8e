"""What was written in a thread before its first prompt; and messages whose files nobody can read."""

from __future__ import annotations

import time

import pytest

from acpbot.sessions.views import Target
from tests.fakes.discord import rest, state
from tests.support.kept_prompts import prompted

NO_RESUME = {"promptCapabilities": {"embeddedContext": True}, "loadSession": False}


@pytest.fixture
async def prompts(tmp_path):
    async with prompted(tmp_path, limits={"wall": time.time}) as made:
        yield made


def texts(messages):
    return [message.get("text") for message in messages]


async def test_the_first_prompt_in_a_persons_thread_has_its_starter_and_what_followed(prompts):
    scene = prompts.scene
    started = scene.bob.says(scene.channel, "the build is red", attachments={"log.txt": "boom"})
    thread = scene.bob.starts_thread(scene.channel, "Red build", from_message=started)
    scene.eve.says(thread, "is it the network?", attachments={"a.png": b"\x89PNG"})
    scene.bob.says(thread, "no")
    prompt = await prompts.of(scene.asks_in(thread, "fix it"))
    assert prompt.text == "fix it"
    past = prompt.data["thread"]
    assert (past["title"], past["channel"]) == ("Red build", "general")
    assert (past["starter"]["user"], past["starter"]["text"]) == ("Bob", "the build is red")
    assert texts(past["earlier_messages"]) == ["is it the network?", "no"]
    assert past["earlier_messages"][0]["files_not_attached"] == ["a.png"]
    assert prompt.files == {"log.txt": "boom"}
    assert "thread" not in (await prompts.of(scene.asks_in(thread, "and now?"))).data


@pytest.mark.parametrize("media", [False, True], ids=["forum", "media"])
async def test_a_mention_in_a_post_has_the_post(prompts, media):
    scene = prompts.scene
    forum = scene.server.make_forum(scene.guild, "help", media=media)
    post = scene.bob.posts_in(forum, "It crashes", "see the log", attachments={"log.txt": "boom"})
    prompt = await prompts.of(scene.asks_in(post, "why?"))
    past = prompt.data["thread"]
    assert (past["title"], past["channel"], past["starter"]["text"]) == ("It crashes", "help", "see the log")
    assert "earlier_messages" not in past
    assert prompt.files == {"log.txt": "boom"}


async def test_a_post_that_mentions_the_bot_is_a_prompt_with_its_title(prompts):
    scene = prompts.scene
    forum = scene.server.make_forum(scene.guild)
    post = scene.ada.posts_in(forum, "Why is it slow?", mentions=[scene.server.bot])
    prompt = await prompts.of(post.messages[post.id])
    assert prompt.text == ""
    assert prompt.data["post"] == {"title": "Why is it slow?", "channel": "help"}


async def test_of_a_long_thread_the_agent_gets_the_starter_and_the_newest_messages(prompts):
    scene = prompts.scene
    started = scene.bob.says(scene.channel, "the build is red")
    thread = scene.bob.starts_thread(scene.channel, "Red build", from_message=started)
    for number in range(60):
        scene.bob.says(thread, f"{number} " + "x" * 1800)
    prompt = await prompts.of(scene.asks_in(thread, "fix it"))
    past = prompt.data["thread"]
    assert past["starter"]["text"] == "the build is red"
    assert past["earlier_messages"][-1]["text"].startswith("59 x")
    assert past["left_out"] == "Older messages of this thread are left out."
    assert len(str(past)) < 20_000


async def test_a_message_is_not_lost_where_its_threads_past_cannot_be_fetched(prompts):
    scene = prompts.scene
    thread = scene.bob.starts_thread(scene.channel, "Red build")
    scene.bob.says(thread, "is it the network?")
    scene.server.faults.status(503, "GET", rest.MESSAGES, times=9)
    prompt = await prompts.of(scene.asks_in(thread, "fix it"))
    assert prompt.text == "fix it"
    assert prompt.data["thread"]["error"] == "Some earlier messages of this thread could not be fetched."


async def test_a_thread_without_a_starter_has_none(prompts):
    scene = prompts.scene
    thread = scene.bob.starts_thread(scene.channel, "Red build")
    past = (await prompts.of(scene.asks_in(thread, "fix it"))).data["thread"]
    assert past == {"title": "Red build", "channel": "general"}


async def test_a_new_session_that_cannot_resume_gets_the_threads_past(tmp_path):
    async with prompted(tmp_path, capabilities=NO_RESUME) as prompts:
        scene = prompts.scene
        asked = scene.asks("the build is red")
        assert "thread" not in (await prompts.of(asked)).data
        thread = await scene.server.wait_for_thread(scene.channel)
        session = scene.pool.get(str(thread.id))
        assert session is not None
        await scene.pool.suspend(str(thread.id), session.session_id)
        past = (await prompts.of(scene.ada.says(thread, "go on"))).data["thread"]
        assert past["starter"]["text"].endswith("the build is red")
        assert [one["is_you"] for one in past["earlier_messages"] if one.get("text") == "done"] == [True]


async def test_a_conversation_that_could_not_be_resumed_gets_the_threads_past(tmp_path):
    async with prompted(tmp_path, capabilities=NO_RESUME) as prompts:
        scene = prompts.scene
        await prompts.of(scene.asks("the build is red"))
        thread = await scene.server.wait_for_thread(scene.channel)
        session, known = scene.pool.get(str(thread.id)), scene.pool.thread(str(thread.id))
        assert session is not None
        assert known is not None
        await scene.pool.suspend(str(thread.id), session.session_id)
        known.resumable = True  # as an agent said that has forgotten it since
        prompt = await prompts.of(scene.ada.says(thread, "go on"))
        assert prompt.text == "go on"
        assert prompt.data["thread"]["starter"]["text"].endswith("the build is red")
        assert prompt.data["user"] == "Ada"
        assert "thread" not in (await prompts.of(scene.ada.says(thread, "and now?"))).data


async def test_what_was_written_before_a_reset_is_not_sent(prompts):
    scene = prompts.scene
    thread = await scene.opens("hello\nthe secret is violet")
    await scene.idle(thread, 1)
    answered = scene.ada.slash("reset", channel=thread)
    await scene.server.wait_for(lambda: "Done" in answered.answer_text, what="the answer")
    prompt = await prompts.of(scene.asks_in(thread, "hello"))
    assert "violet" not in str(prompt.data)


async def test_what_was_written_before_a_reset_is_not_sent_after_a_restart_either(prompts):
    scene = prompts.scene
    thread = await scene.opens("hello\nthe secret is violet")
    await scene.idle(thread, 1)
    await scene.server.wait_for_answer(scene.ada.slash("reset", channel=thread))
    await scene.restart()
    prompt = await prompts.of(scene.asks_in(thread, "hello"))
    assert "violet" not in str(prompt.data)


@pytest.mark.parametrize("suspended", [False, True])
async def test_what_was_written_before_an_operator_had_it_forgotten_is_not_sent(prompts, suspended):
    scene = prompts.scene
    thread = await scene.opens("hello\nthe secret is violet")
    await scene.idle(thread, 1)
    name, session = str(thread.id), scene.pool.get(str(thread.id))
    assert session is not None
    if suspended:
        await scene.pool.suspend(name, session.session_id)
        scene.pool.ender.forget_suspended(name)
    else:
        await scene.pool.kill([Target(thread_id=name, session_id=session.session_id)], forget=True)
    prompt = await prompts.of(scene.ada.says(thread, "hello"))
    assert "violet" not in str(prompt.data)


async def test_another_agent_gets_nothing_of_what_was_written_before_as_its_thread_reads(prompts):
    scene = prompts.scene
    scene.harness.offer_agents("demo", "other")
    thread = await scene.opens("hello\nthe secret is violet")
    await scene.idle(thread, 1)
    await scene.server.wait_for_answer(scene.ada.slash("agent", {"name": "other"}, channel=thread))
    await scene.says(thread, "Earlier context isn't carried over.")
    prompt = await prompts.of(scene.ada.says(thread, "hello"))
    assert "violet" not in str(prompt.data)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"voice-message.ogg": b"OggS"}, "Skipped `voice-message.ogg`: I can only read images and text files."),
        ({"a.pdf": b"%PDF", "b.zip": b"PK"}, "Skipped `a.pdf` and `b.zip`: I can only read images and text files."),
    ],
)
async def test_a_message_whose_only_content_nobody_can_read_runs_no_turn(prompts, files, words):
    scene = prompts.scene
    flags = state.VOICE_MESSAGE if "voice-message.ogg" in files else 0
    asked = scene.asks("", attachments=files, flags=flags)
    await scene.server.wait_for(lambda: scene.text(scene.channel) == words, what=words)
    said = scene.bob.says(scene.channel, "what do you think?")
    replied = scene.ada.says(scene.channel, mentions=[scene.server.bot], attachments=files, reply_to=said)
    thread = await scene.opens("hello")
    await scene.idle(thread, 1)
    scene.ada.says(thread, attachments=files, flags=flags)
    await scene.says(thread, words)
    assert len(prompts.all) == 1
    assert (asked.thread, replied.thread) == (None, None)


async def test_a_file_that_turns_out_to_be_no_text_runs_no_turn(prompts):
    scene = prompts.scene
    asked = scene.asks("", attachments={"notes.txt": b"PK\x03\x04"})
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.says(thread, "Skipped `notes.txt`: I can only read images and text files")
    await scene.server.wait_for(lambda: asked.shown_reactions == ["😱"])
    assert prompts.all == []
    assert thread.name == "notes.txt"


async def test_an_image_alone_runs_no_turn_of_an_agent_that_takes_none(tmp_path):
    async with prompted(tmp_path, capabilities=NO_RESUME) as prompts:
        scene = prompts.scene
        asked = scene.asks("", attachments={"a.png": b"\x89PNG\r\n\x1a\n"})
        thread = await scene.server.wait_for_thread(scene.channel)
        words = "This agent can't read images, and there's nothing else in this message."
        assert await scene.says(thread, words) == f"😱 {words}"
        await scene.server.wait_for(lambda: asked.shown_reactions == ["😱"])
        assert prompts.all == []
