"""What an older acpbot has stored is taken over."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from acpbot.storage.database import Database
from acpbot.storage.records import CostRecord, KnownThread, LastEnd
from acpbot.storage.store import APPLICATION_ID, MIGRATIONS, Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "acpbot.sqlite3"


def test_the_denials_of_an_older_audit_are_found_to_be_denials(path):
    Database(path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:3]).close()
    with sqlite3.connect(path) as connection:
        for outcome in ("denied", "ended"):
            connection.execute(
                "INSERT INTO audit (at, uid, pid, method, target, outcome) VALUES (1.0, 0, 1, 'm', 't', ?)", (outcome,)
            )
    connection.close()
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        rows = list(connection.execute("SELECT outcome, kind, times FROM audit ORDER BY sequence"))
    connection.close()
    assert rows == [("denied", "denied", 1), ("ended", "done", 1)]


async def test_the_threads_of_an_older_store_are_known_to_the_bot_and_stay_so_when_they_are_forgotten(path):
    Database(path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:7]).close()
    with sqlite3.connect(path) as connection:
        values = "'1001', 'discord', 'demo', NULL, NULL, '2026', 5.0, NULL, 0, 0, '{}', NULL"
        connection.execute(f"INSERT INTO threads VALUES ({values})")  # noqa: S608 - the test's own
    connection.close()
    store = Store.open(path)
    assert store.restored.known_threads == [KnownThread("1001", "discord", 5.0)]
    store.forget_thread("1001")
    store.save_known_thread(KnownThread("1002", "discord", 6.0, other_bots=True, expired=True, begun_anew_at=7.5))
    await store.durable()
    store.close()
    again = Store.open(path)
    again.close()
    second = KnownThread("1002", "discord", 6.0, other_bots=True, expired=True, begun_anew_at=7.5)
    wanted = [KnownThread("1001", "discord", 5.0), second]
    assert (again.restored.threads, again.restored.known_threads) == ([], wanted)


async def test_an_older_store_gets_a_place_for_costs_which_go_with_their_thread(path):
    Database(path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:6]).close()
    store = Store.open(path)
    kept, gone = (CostRecord(thread, "demo", "USD", 0.5, "acp", 0.25) for thread in ("1001", "1002"))
    for cost in (kept, gone):
        store.save_cost(cost)
    store.forget_thread("1002")
    await store.durable()
    store.close()
    again = Store.open(path)
    again.close()
    assert again.restored.costs == [kept]


async def test_a_file_of_before_last_ends_and_outputs_is_taken_over(path):
    version = next(number for number, step in enumerate(MIGRATIONS) if "last_end" in step)
    Database(path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:version]).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO threads (thread_id, platform, agent, created_at, used_at, resumable, turns, chosen) "
            "VALUES ('1', 'local', 'a', 't', 1.0, 0, 0, '{}')"
        )
    connection.close()
    store = Store.open(path)
    (thread,) = store.restored.threads
    assert thread.last_end is None
    thread.last_end = LastEnd("t", "crashed", 3, "why")
    store.save_thread(thread)
    store.save_output("1", b"[]")
    assert await store.output("1") == b"[]"
    assert await store.output("2") is None
    await asyncio.to_thread(store.close)
    store = Store.open(path)
    assert store.restored.threads == [thread]
    store.forget_thread("1")
    assert await store.output("1") is None
    await asyncio.to_thread(store.close)
