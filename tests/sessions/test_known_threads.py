"""A thread is known to the bot for longer than its conversation is kept."""

from __future__ import annotations

from acpbot.sessions import known_threads
from acpbot.sessions.known_threads import KnownThreads
from acpbot.storage.records import KnownThread
from acpbot.storage.store import Store
from tests.sessions.test_pool import kill
from tests.support.pool_restarts import started

DAY = 86_400


async def test_a_conversation_goes_on_after_a_weekend_and_after_weeks(tmp_path):
    async with started(tmp_path) as first:
        await first.turn("1001", "remember the blue door")
        await kill(first, "1001")
        first.clock.move(29 * DAY)
        first.pool.tick()
        left = await first.killed()
    async with started(tmp_path, left) as second:
        second.clock.now = first.clock.now
        second.pool.tick()
        assert "the blue door" in (await second.turn("1001", "recall")).text
        assert second.events.started_fresh == []


async def test_a_thread_whose_conversation_has_expired_reads_once_that_it_starts_fresh(tmp_path):
    async with started(tmp_path) as first:
        await first.turn("1001", "remember the blue door")
        await kill(first, "1001")
        first.clock.move(31 * DAY)
        first.pool.tick()
        assert first.pool.thread("1001") is None
        left = await first.killed()
    async with started(tmp_path, left) as second:
        assert "the blue door" not in (await second.turn("1001", "recall")).text
        await kill(second, "1001")
        await second.turn("1001", "say a")
        assert second.events.started_fresh == ["1001"]


async def test_a_thread_that_is_reset_stays_known_and_reads_nothing_of_a_fresh_start(tmp_path):
    async with started(tmp_path) as first:
        await first.turn("1001", "say a")
        await kill(first, "1001", forget=True)
        left = await first.killed()
    async with started(tmp_path, left) as second:
        assert second.pool.thread("1001") is None
        assert second.pool.known_threads.get("1001") is not None
        assert second.pool.known_threads.get("1002") is None
        await second.turn("1001", "say b")
        assert second.events.started_fresh == []


def test_of_too_many_threads_the_one_that_is_unused_for_longest_is_forgotten(monkeypatch):
    monkeypatch.setattr(known_threads, "MOST", 3)
    now = 0.0
    store = Store()
    store.restored.known_threads = [KnownThread("1002", "test", 2.0), KnownThread("1001", "test", 1.0)]
    known = KnownThreads(store, lambda: now)
    known.used("1003", "test")
    known.used("1001", "test")
    known.used("1004", "test")
    assert [known.get(name) is not None for name in ("1001", "1002", "1003", "1004")] == [True, False, True, True]
