"""How many threads each agent has is counted as threads come and go; and a row has all that its thread's record has."""

from __future__ import annotations

import random
from collections import Counter

from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.registry import Runtimes
from acpbot.sessions.thread import ThreadRegistry
from acpbot.sessions.views import Row
from acpbot.storage.records import LastEnd, ThreadRecord
from acpbot.storage.store import Store
from tests.support.pool import make_settings
from tests.support.pool_restarts import started

RUNTIMES = Runtimes(local_runtime()[0], daemon_id="test")


def test_the_count_is_that_of_the_threads_after_any_beginnings_and_ends():
    chance = random.Random(1)  # noqa: S311 - it chooses what a test does
    store = Store()
    store.restored.threads += [ThreadRecord(str(number), "local", "old", None, None, "", 0.0) for number in range(3)]
    threads = ThreadRegistry(store, lambda: 0.0, lambda: 0.0, RUNTIMES)
    assert threads.of_agents() == {"old": 3}
    for _ in range(300):
        thread_id = str(chance.randrange(6))
        known = threads.by_id.get(thread_id)
        if known is not None and chance.random() < 0.5:
            threads.forget(known)
        else:
            threads.begin(thread_id, "local", chance.choice(["a", "b"]), None, None)
        assert threads.of_agents() == dict(Counter(one.agent for one in threads.by_id.values()))


def test_a_row_says_of_its_thread_what_the_record_says_with_a_session_or_without(tmp_path):
    settings = make_settings(tmp_path)
    end = LastEnd("2026-01-02T03:04:05Z", "killed", detail="why")
    record = ThreadRecord("1001", "test", "demo", "7", "a title", "2026-01-01T00:00:00Z", 1.0, "acp", True, 3)
    record.last_end = end
    store = Store()
    store.restored.threads.append(record)
    row = ThreadRegistry(store, lambda: 0.0, lambda: 0.0, RUNTIMES).suspended_row(record, settings, 0)
    shared = set(Row.__struct_fields__) & set(ThreadRecord.__struct_fields__)
    assert {name: getattr(row, name) for name in shared} == {name: getattr(record, name) for name in shared}


async def test_a_row_of_a_session_has_all_that_its_thread_has(tmp_path):
    async with started(tmp_path) as harness:
        await harness.turn("1001", "say a")
        thread = harness.session("1001").thread
        thread.last_end = LastEnd("2026-01-02T03:04:05Z", "killed", detail="why")
        row = harness.row("1001")
        shared = set(Row.__struct_fields__) & set(ThreadRecord.__struct_fields__)
        assert {name: getattr(row, name) for name in shared} == {name: getattr(thread, name) for name in shared}
