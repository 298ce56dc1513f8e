"""Texts that are made to break something, from people and from agents, are shown as they are."""

from __future__ import annotations

import json
import re

import pytest

from acpbot.chat.rendering.live_message import LiveMessage, join
from acpbot.text import clean
from tests.chat.discord.outbound.test_turns import digits
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
HEBREW = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd "


def contents(scene: Scene, thread) -> list[str]:
    return [one.content for one in scene.bodies(thread)]


async def test_a_turn_with_a_tool_and_a_button_is_there_byte_for_byte(scene: Scene):
    """Asked in public, streamed, stopped for a permission, and joined again."""
    thread = await scene.opens("long 3000; tool echo between; long 4000; say the end")
    asked = await scene.server.wait_for_message(thread, lambda one: one.asks)
    begins = "🔧 `echo between`\n000000000\n"
    await scene.server.wait_for(lambda: contents(scene, thread)[0].startswith(begins), what="the tool above the text")
    scene.ada.clicks(asked, label="Allow")
    await scene.idle(thread, 1)
    bodies = [one for one in scene.bodies(thread) if one is not asked]
    assert any(len(one.versions) > 1 for one in bodies), "it was streamed"
    head, _, text = "\n".join(one.content for one in bodies).partition("\n")
    assert head == "✅ `echo between`"
    assert text == f"{digits(3000)}The command completed: between{digits(4000)}the end"


async def test_the_text_is_there_within_a_second_of_the_agent_s_first_word(tmp_path):
    """By one clock, and at Discord's own limits."""
    async with staged(tmp_path, unit=1.0) as scene:
        thread = await scene.opens("stall 0.2; stream 20")
        heard: list[float] = []
        session = await scene.server.wait_for(lambda: scene.pool.get(str(thread.id)))
        clock = scene.clock
        session.turns.output.follow(lambda _line: heard.append(clock()))
        message = await scene.server.wait_for_message(thread)
        assert heard
        assert message.versions[0].at - heard[0] <= 1.0
        assert await scene.chat.outbox.flush(10)
        assert scene.server.answered_429 == []


async def test_a_prompt_of_50_000_characters_is_answered_whole(scene: Scene):
    words = " ".join(f"word{number}" for number in range(6000))[:50_000]
    thread = await scene.opens(words)
    await scene.idle(thread, 1)
    *bodies, last = scene.bodies(thread)
    assert len(thread.name) <= 80
    shown = " ".join(body.content for body in bodies).partition(" \n… ")[0].rpartition("\n… ")[0]
    whole = f"{shown} {last.attachments[0].text}"
    said = f"I'm the demo agent, and I have no model. You said: {words}\nSay `help` to see what I can do."
    assert whole.split() == said.split()


@pytest.mark.parametrize("text", ["", "   \n\t ", "\u200b"])
async def test_a_prompt_of_nothing_is_asked_for_more(scene: Scene, text):
    scene.asks(text)
    hint = await scene.server.wait_for_message(scene.channel)
    assert "Mention me with a task" in hint.content


@pytest.mark.parametrize("text", [" ", "\n\n \t\n", " \u200b ", "\u2060\ufeff", "\u3000"])
async def test_an_answer_of_only_white_space_is_told(scene: Scene, text):
    message = scene.asks(f"say {json.dumps(text)}")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.idle(thread, 1)
    assert scene.text(thread).endswith("The agent finished without a reply.")
    assert len(scene.bodies(thread)) == 1
    assert message.shown_reactions == ["🆗"]


async def test_an_answer_of_200_000_characters_is_complete(scene: Scene):
    thread = await scene.opens("long 200000")
    await scene.idle(thread, 1)
    *bodies, last = scene.bodies(thread)
    assert len(bodies) == 5
    shown, _, _ = "\n".join(body.content for body in bodies).rpartition("\n… ")
    assert f"{shown}\n{last.attachments[0].text}" == digits(200_000)


HARD = {
    "an unclosed fence": "Look:\n```python\n" + "".join(f"line {number} of code = {number}\n" for number in range(250)),
    "a fence in a list": "- item\n  ```sh\n" + "  echo hello\n" * 400,
    "a fence language of 3,000 characters": f"```{'x' * 3000}\ncode\n```\nafter",
    "a fence of 40 ticks": f"{'`' * 40}\ncode\n{'`' * 40}\nafter",
    "no white space at all": "x" * 6000,
    "emoji of seven parts": FAMILY * 900,
    "right to left": HEBREW * 400,
    "turned around and zero-width": "\u202e\u2066abc\u200b\u200d\ufeff\u2069 " * 400,
    "everyone": "@everyone @here <@&1> <@2> " * 150,
    "backticks": "` `` ``` ```` ` " * 300,
    "links": "[text](https://example.com/?a=b&c=d) <https://example.com> " * 60,
}


@pytest.mark.parametrize("name", HARD)
async def test_a_hard_text_is_said_whole_within_the_limits_and_pings_nobody(scene: Scene, name):
    text = HARD[name]
    cleaned = clean(text)
    thread = await scene.opens(f"say {json.dumps(text)}")
    await scene.idle(thread, 1)
    assert not any(one.pings for one in scene.bodies(thread))
    live = LiveMessage()
    live.append(cleaned)
    parts = live.parts()
    said = [one for one in scene.bodies(thread) if one.content]
    files = [file.text for one in scene.bodies(thread) for file in one.attachments]
    assert [one.content for one in said] == [part.text.strip() for part in parts]
    assert join(parts, "".join(files)) == cleaned
    assert all(one.content.count("```") % 2 == 0 for one in said if "fence" in name and "40" not in name)
    assert scene.server.requests_to("POST", rest.MESSAGES)
    assert all(call.status == 200 for call in scene.server.requests_to("POST", rest.MESSAGES))


async def test_an_emoji_that_the_agent_cuts_in_two_stops_nothing(scene: Scene):
    thread = await scene.opens('say "half of one: \\ud83d"; say " and a whole one: \\ud83d\\ude00"')
    await scene.idle(thread, 1)
    assert scene.text(thread) == "half of one: \ufffd and a whole one: \U0001f600"


async def test_an_emoji_of_seven_parts_is_not_torn_where_messages_meet(scene: Scene):
    thread = await scene.opens(f"say {json.dumps(FAMILY * 600)}")
    await scene.idle(thread, 1)
    assert len(contents(scene, thread)) > 1
    for content in contents(scene, thread):
        assert re.fullmatch(f"(?:{FAMILY})+", content)


async def test_titles_that_are_made_to_break_something(scene: Scene):
    message = scene.asks("\u202e" + "x" * 500 + "\n```\n@everyone")
    thread = await scene.server.wait_for(lambda: message.thread)
    assert len(thread.name) <= 80
    assert "\u202e" not in thread.name
    await scene.idle(thread, 1)
    for title in ("\u200b", " ", "a\u2067b" * 200, "`" * 100):
        scene.ada.says(thread, f"title {json.dumps(title)}")
    await scene.idle(thread, 5)
    assert thread.name.strip()
    assert len(thread.name) <= 80


async def test_a_tool_of_a_strange_name_and_command_breaks_nothing(scene: Scene):
    thread = await scene.opens("tool " + json.dumps("echo `@everyone`\n# ```\n" + "\u202e" + "x" * 400))
    asked = await scene.server.wait_for_message(thread, lambda one: one.asks)
    first = scene.bodies(thread)[0]
    assert first.content.startswith("🔧 Run:\n```sh\necho `@everyone`\n# ")
    assert first.content.endswith("…\n```")
    assert first.content.count("```") == 2
    assert "\u202e" not in first.content
    assert asked.mentions == [scene.ada]
    assert not asked.mention_everyone
    assert "x" * 100 in asked.content
    assert "\u202e" not in asked.content
