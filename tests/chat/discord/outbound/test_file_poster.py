"""The images and resources of an agent, as attachments in the thread."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.chat.discord.outbound.file_poster import FILES_MOST, TOO_LARGE, TOO_MANY
from tests.fakes.agents import updating
from tests.support.discord_scene import staged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.discord.state import Channel
    from tests.support.discord_scene import Scene

KIB = 1024


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with staged(tmp_path, limits={"argv": (sys.executable, "-m", updating.__name__)}) as made:
        yield made


def said(**content: Any) -> dict[str, Any]:
    return {"sessionUpdate": "agent_message_chunk", "content": content}


def image(size: int = KIB, **more: Any) -> dict[str, Any]:
    return {"type": "image", "mimeType": "image/png", "data": {"$bytes": size}} | more


def result(*blocks: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "content", "content": block} for block in blocks]
    return {"sessionUpdate": "tool_call", "toolCallId": "t", "title": "plot", "status": "completed", "content": content}


async def answered(scene: Scene, *updates: Any) -> Channel:
    thread = await scene.opens(json.dumps(updates))
    await scene.idle(thread, 1)
    return thread


def files(scene: Scene, thread: Channel) -> dict[str, bytes]:
    found = [file for message in scene.bodies(thread) for file in message.attachments]
    return {file.filename: file.data for file in found}


async def test_an_image_of_a_chunk_and_of_a_tool_s_result_are_attached_once(scene: Scene):
    own = image(100 * KIB, uri="file:///srv/plot.png")
    thread = await answered(scene, said(**own), result(image(2 * KIB, mimeType="image/jpeg")), result(own))
    found = files(scene, thread)
    assert {name: len(data) for name, data in found.items()} == {"plot.png": 100 * KIB, "image.png": 2 * KIB}
    assert all(data.startswith(updating.PNG) for data in found.values())


async def test_resources_are_attached_as_text_or_bytes(scene: Scene):
    text = {"type": "resource", "resource": {"uri": "file:///a/notes.md", "text": "# hé"}}
    blob = {"type": "resource", "resource": {"uri": "x://report.pdf", "blob": {"$bytes": 50}}}
    thread = await answered(scene, said(**text), result(blob))
    assert {name: len(data) for name, data in files(scene, thread).items()} == {"notes.md": 5, "report.pdf": 50}


async def test_a_file_stands_between_the_texts_before_and_after_it_without_its_name_in_the_answer(scene: Scene):
    before, after = said(type="text", text="Here:"), said(type="text", text="Done.")
    thread = await answered(scene, before, said(**image(uri="file:///srv/plot.png")), after)
    assert [body.content for body in scene.bodies(thread)] == ["Here:", "📎 `plot.png`", "Done."]


async def test_a_file_alone_is_a_reply(scene: Scene):
    thread = await answered(scene, said(**image()))
    assert [body.content for body in scene.bodies(thread)] == ["📎 `image.png`"]


async def test_what_is_no_image_is_named_and_not_attached(scene: Scene):
    html = image(data="PGh0bWw+")
    thread = await answered(scene, said(**html), said(**image(data="%%%")), said(type="text", text="done"))
    assert files(scene, thread) == {}
    assert "can't be read: `image.png`" in scene.text(thread)
    assert "done" in scene.text(thread)


async def test_files_over_the_limits_are_left_out_and_that_is_said_once(scene: Scene):
    many = [image(20 + number, uri=f"p{number}.png") for number in range(FILES_MOST + 5)]
    thread = await answered(scene, result(*many), result(*many), said(**image(3 * KIB * KIB)))
    assert len(files(scene, thread)) == FILES_MOST
    assert scene.text(thread).count(TOO_MANY) == 1
    assert scene.text(thread).count(TOO_LARGE) == 1
    assert "Part of the answer" not in scene.text(thread)


async def test_an_image_up_to_the_documented_size_arrives_whole(scene: Scene):
    thread = await answered(scene, said(**image(760 * KIB)))
    assert [len(data) for data in files(scene, thread).values()] == [760 * KIB]
