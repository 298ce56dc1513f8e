"""/retry: the last prompt of the thread runs again, for one of those who control the thread."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from acpbot.chat.discord import last_prompts
from acpbot.chat.discord.interactions.command_text import NO_CONVERSATION, NO_SESSION
from acpbot.chat.discord.interactions.retry_command import BUSY, FILES_LOST, RESTARTING, UNKNOWN
from acpbot.chat.discord.last_prompts import LastPrompts
from acpbot.chat.platform import IncomingMessage
from acpbot.storage.database import Database
from acpbot.storage.store import APPLICATION_ID, MIGRATIONS, PROMPT_FILES_MOST, PROMPTS_MOST, Store
from tests.chat.discord.interactions.test_commands import answer_to
from tests.support.discord_scene import staged
from tests.support.pool import faulty


@asynccontextmanager
async def staged_with_store(tmp_path, **more):
    store = Store.open(tmp_path / "acpbot.sqlite3")
    try:
        async with staged(tmp_path, limits={"store": store, **more}) as scene:
            yield scene
    finally:
        await asyncio.to_thread(store.close)


async def test_the_last_prompt_runs_again_with_its_files_as_a_reply_to_its_message(tmp_path):
    async with staged_with_store(tmp_path) as scene:
        thread = await scene.opens("say first")
        await scene.idle(thread, 1)
        asked = scene.ada.says(thread, "what", attachments={"notes.txt": b"the notes"})
        await scene.idle(thread, 2)
        before = [one.content for one in scene.bodies(thread)]
        assert await answer_to(scene, "retry", thread) == "Running it again: `what`"
        await scene.idle(thread, 3)
        again = scene.bodies(thread)[len(before) :]
        assert again[0].content == before[-1]
        assert "notes.txt" in again[0].content
        assert again[0].referenced is asked
        shown = [(one.added, one.emoji) for one in asked.reaction_log if one.user is scene.server.bot]
        assert shown.count((True, "🆗")) == 2
        assert (False, "🆗") in shown


async def test_it_runs_after_close_and_for_the_person_who_asks_and_is_refused_to_others(tmp_path):
    async with staged_with_store(tmp_path) as scene:
        assert await answer_to(scene, "retry", scene.channel) == NO_SESSION
        thread = await scene.opens("say first")
        await scene.idle(thread, 1)
        await answer_to(scene, "close", thread)
        assert (await answer_to(scene, "retry", thread, scene.bob)).startswith("Only ")
        assert "Running it again" in await answer_to(scene, "retry", thread)
        await scene.idle(thread, 2)
        assert scene.text(thread).count("first") == 2


async def test_while_a_turn_runs_or_the_bot_restarts_nothing_runs_again(tmp_path):
    async with staged_with_store(tmp_path) as scene:
        thread = await scene.opens("say first; sleep 60")
        await scene.says(thread, "first")
        assert await answer_to(scene, "retry", thread) == BUSY
        await answer_to(scene, "cancel", thread)
        await scene.idle(thread, 1)
        scene.pool.draining = True
        assert await answer_to(scene, "retry", thread) == RESTARTING
        scene.pool.draining = False


async def test_a_prompt_whose_agent_could_not_start_runs_again(tmp_path):
    async with staged_with_store(tmp_path, argv=faulty("exit-at-once")) as scene:
        thread = await scene.opens("say first")
        await scene.says(thread, "The agent couldn't be started.")
        assert await answer_to(scene, "retry", thread) == "Running it again: `say first`"


async def test_a_reset_erases_the_last_prompt(tmp_path):
    async with staged_with_store(tmp_path) as scene:
        thread = await scene.opens("say first")
        await scene.idle(thread, 1)
        assert await scene.pool.store.prompt(str(thread.id)) is not None
        await answer_to(scene, "reset", thread)
        assert await scene.pool.store.prompt(str(thread.id)) is None
        assert await answer_to(scene, "retry", thread) == NO_CONVERSATION


async def test_without_what_was_kept_the_person_is_told(tmp_path):
    async with staged_with_store(tmp_path) as scene:
        thread = await scene.opens("say first")
        await scene.idle(thread, 1)
        asked = scene.ada.says(thread, "say more")
        await scene.idle(thread, 2)
        prompts = LastPrompts(scene.pool.store)
        large = IncomingMessage(
            thread_id=str(thread.id),
            text="say second",
            owner="7",
            key=str(asked.id),
            blocks=[{"type": "text", "text": "x" * last_prompts.FILES_BYTES_MOST}],
        )
        prompts.keep(large)
        assert (await answer_to(scene, "retry", thread)).endswith(FILES_LOST)
        await scene.says(thread, "second")
        await scene.idle(thread, 3)
        scene.pool.store.forget_thread(str(thread.id))
        assert await answer_to(scene, "retry", thread) == UNKNOWN


@pytest.fixture
async def store(tmp_path):
    # A file of before there were prompts: it gets a place for them.
    Database(tmp_path / "old.sqlite3", application_id=APPLICATION_ID, migrations=MIGRATIONS[:11]).close()
    store = Store.open(tmp_path / "old.sqlite3")
    yield store
    await asyncio.to_thread(store.close)


async def test_an_older_store_keeps_the_newest_prompts_and_the_files_of_fewer(store):
    prompts = LastPrompts(store)
    blocks = [{"type": "text", "text": "x"}]

    def keep(number: int) -> None:
        prompts.keep(IncomingMessage(thread_id=str(number), text=f"prompt {number}", owner="7", blocks=blocks))

    for number in range(PROMPT_FILES_MOST + 1):
        keep(number)
    first, second = await prompts.get("0"), await prompts.get("1")
    assert first is not None
    assert second is not None
    assert (first.message.text, first.message.blocks, first.files_lost) == ("prompt 0", [], True)
    assert (second.message.blocks, second.files_lost) == (blocks, False)
    for number in range(1, PROMPTS_MOST):
        keep(number)
    assert await prompts.get("0") is None
    assert await prompts.get(str(PROMPTS_MOST - 1)) is not None
