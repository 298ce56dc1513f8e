"""What the chat keeps of a message, and for how long."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from typing import TYPE_CHECKING

import pytest

from acpbot.chat.discord.discord_platform import PendingMessage
from acpbot.chat.platform import IncomingMessage
from acpbot.storage.store import Store
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from pathlib import Path


def kept(what: type[IncomingMessage | PendingMessage], keys: set[str]) -> list[str]:
    """The ids of messages of which the process still has such an object."""
    gc.collect()
    return sorted(one.key for one in gc.get_objects() if isinstance(one, what) and one.key in keys)


async def test_nothing_is_kept_of_a_message_that_the_full_queue_refuses(tmp_path: Path):
    async with staged(tmp_path, limits={"max_queued": 1}) as scene:
        thread = await scene.opens("say first; stall 60")
        await scene.says(thread, "first")
        queued = scene.ada.says(thread, "say second")
        await scene.says(thread, "Queued")
        refused = [scene.ada.says(thread, "say no", attachments={"a.txt": "data" * 100}) for _ in range(3)]
        await scene.server.wait_for(lambda: all(one.shown_reactions == ["😱"] for one in refused))
        assert await scene.chat.outbox.flush(5)
        keys = {str(one.id) for one in (queued, *refused)}
        assert kept(IncomingMessage, keys) == [str(queued.id)]
        assert kept(PendingMessage, keys) == [str(queued.id)]


async def test_nothing_is_kept_of_a_message_that_comes_while_the_pool_drains(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    scene.pool.draining = True
    late = scene.ada.says(thread, "say two")
    await scene.server.wait_for(lambda: late.shown_reactions == ["👀"])
    assert await scene.chat.outbox.flush(5)
    assert kept(PendingMessage, {str(late.id)}) == []


@pytest.mark.parametrize("text", ["say one", "error", "say one; die"])
async def test_nothing_is_kept_of_a_message_whose_turn_has_ended(scene: Scene, text: str):
    message = scene.asks(text)
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.server.wait_for(lambda: message.shown_reactions in (["🆗"], ["😱"]))
    scene.ada.says(thread, "say on")
    await scene.says(thread, "on")
    assert await scene.chat.outbox.flush(5)
    assert kept(PendingMessage, {str(message.id)}) == []


async def test_nothing_is_kept_of_a_message_that_is_refused_after_a_restart(tmp_path: Path):
    path = tmp_path / "acpbot.sqlite3"
    store = Store.open(path)
    async with staged(tmp_path, limits={"store": store}) as scene:
        thread = await scene.opens("say first; stall 60")
        await scene.says(thread, "first")
        message = scene.ada.says(thread, "say second")
        await scene.says(thread, "Queued")
        await scene.pool.close(grace_seconds=0.5)
        assert kept(PendingMessage, {str(message.id)}) == [], "the store has it"
    await asyncio.to_thread(store.close)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE threads SET agent = 'gone'")
    connection.close()
    store = Store.open(path)
    async with staged(tmp_path, limits={"store": store}) as scene:
        assert len(store.restored.turns) == 1
        assert scene.pool.rows() == [], "the pool has refused it"
        await asyncio.sleep(0)  # the chat forgets it in the next step of the event loop
        assert kept(PendingMessage, {str(message.id)}) == []
    await asyncio.to_thread(store.close)
