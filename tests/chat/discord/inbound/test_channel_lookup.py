"""Messages of threads that discord.py does not have in its cache: Discord is asked which thread it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.aio import KeyedLocks
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.rest import Call
    from tests.fakes.discord.state import Channel


def with_archived_threads(*names: str) -> Any:
    """Threads of the bot that discord.py does not learn of: they are archived at the start, and not later."""

    def before(scene: Scene) -> dict[str, object]:
        for name in names:
            scene.server.make_thread(scene.channel, scene.server.bot, name).archived = True
        return {}

    return before


def woken_threads(scene: Scene) -> list[Channel]:
    threads = scene.server.threads_of(scene.channel)
    for thread in threads:
        thread.archived = False
    return threads


@pytest.mark.parametrize("status", [500, 503, 403])
async def test_a_thread_that_is_not_in_the_cache_is_looked_up_until_there_is_an_answer(tmp_path, status):
    async with staged(tmp_path, setup=with_archived_threads("asleep")) as scene:
        (thread,) = woken_threads(scene)
        scene.server.faults.status(status, "GET", rest.CHANNEL)
        for text in ("say one", "say two"):
            scene.ada.says(thread, text)
        # A 403 means that the bot does not see the channel, so the first message is not for it.
        await scene.idle(thread, 1 if status == 403 else 2)
        assert scene.text(thread) == ("two" if status == 403 else "one\ntwo")


async def test_a_thread_that_cannot_be_fetched_delays_no_other_and_keeps_its_order(tmp_path):
    async with staged(tmp_path, setup=with_archived_threads("broken", "fine")) as scene:
        broken, fine = sorted(woken_threads(scene), key=lambda thread: thread.name)

        def is_broken(call: Call) -> bool:
            return call.number("channel_id") == broken.id

        down = scene.server.faults.status(503, "GET", rest.CHANNEL, times=10**6, where=is_broken)
        for text in ("say one", "say two"):
            scene.ada.says(broken, text)
        await scene.server.wait_for(lambda: down.hits >= 2)
        scene.ada.says(fine, "say at once")
        await scene.says(fine, "at once")
        assert scene.text(broken) == ""
        scene.server.faults.clear()
        await scene.idle(broken, 2)
        assert scene.text(broken) == "one\ntwo"


async def test_a_lock_is_given_in_the_order_of_the_calls_and_delays_no_other_key() -> None:
    locks, order = KeyedLocks(), []
    first_runs, first_may_end = asyncio.Event(), asyncio.Event()

    async def work(key: str, name: str) -> None:
        async with locks.hold(key):
            order.append(name)
            if name == "first":
                first_runs.set()
                await first_may_end.wait()

    tasks = [asyncio.create_task(work("a", name)) for name in ("first", "second", "third")]
    await first_runs.wait()
    await work("b", "other")
    assert order == ["first", "other"]
    first_may_end.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "other", "second", "third"]
