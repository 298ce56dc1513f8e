"""Commands in a thread of the bot whose conversation is forgotten: what people read fits the place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.chat.discord.interactions.test_commands import answer_to
from tests.support.discord_scene import Scene, staged
from tests.support.kept_prompts import prompted

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel

WRITE = "There's no conversation here yet. Just write, and I'll start one."
MENTION = "There's no conversation here yet. Mention me with a task, and I'll start one."

ANSWERS: list[tuple[str, dict[str, str], str]] = [
    ("status", {}, f"I'm online (0 of 10 in use). {WRITE}"),
    ("cancel", {}, WRITE),
    ("retry", {}, WRITE),
    ("file", {"path": "a.txt"}, WRITE),
    ("model", {}, "Send a message first, then pick a model."),
    ("model", {"name": "shout"}, "Send a message first, then pick a model."),
    ("mode", {"name": "auto"}, "Send a message first, then pick a mode."),
    ("options", {}, "Send a message first, then pick an option."),
    ("reset", {}, "Done. This thread starts fresh."),
]


async def forgotten(scene: Scene, text: str = "say hello") -> Channel:
    """A thread whose conversation has expired."""
    thread = await scene.opens(text)
    await scene.idle(thread, 1)
    await scene.pool.suspend(str(thread.id), scene.harness.row(str(thread.id)).session_id or "")
    known = scene.pool.thread(str(thread.id))
    assert known is not None
    known.used_at -= 31 * 86_400
    scene.pool.tick()
    assert scene.pool.thread(str(thread.id)) is None
    return thread


async def test_a_command_says_that_a_message_begins_a_conversation(scene: Scene):
    thread = await forgotten(scene)
    for command, options, answer in ANSWERS:
        assert await answer_to(scene, command, thread, **options) == answer, command


async def test_it_says_so_where_only_a_mention_begins_one(tmp_path):
    async with staged(tmp_path, allow_user_messages="mentions") as scene:
        thread = await forgotten(scene)
        assert await answer_to(scene, "cancel", thread) == MENTION
        assert await answer_to(scene, "mode", thread) == "Mention me with a task first, then pick a mode."


async def test_close_archives_it(scene: Scene):
    thread = await forgotten(scene)
    assert await answer_to(scene, "close", thread) == "Done. Send a message to open this thread again."
    await scene.server.wait_for(lambda: thread.archived, what="an archived thread")


async def test_a_reset_keeps_what_was_written_before_from_the_agent(tmp_path):
    async with prompted(tmp_path, limits={"wall": time.time}) as prompts:
        thread = await forgotten(prompts.scene, "hello\nthe secret is violet")
        await answer_to(prompts.scene, "reset", thread)
        prompt = await prompts.of(prompts.scene.ada.says(thread, "hello"))
        assert "violet" not in str(prompt.data)
