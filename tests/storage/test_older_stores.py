"""What an older acpbot has stored is taken over."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from acpbot.storage.database import Database
from acpbot.storage.records import CostRecord, EventRecord, KnownThread, LastEnd, PlaceRecord, PromptRecord, TurnRecord
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


async def test_what_was_read_and_which_schedules_have_run_is_known_after_a_restart(path):
    store = Store.open(path)
    for platform, message in (("discord", 5), ("discord", 6), ("discord", 7), ("local", 6)):
        store.message_seen(platform, message)
    store.message_seen("discord", 7)
    store.read_up_to("discord", 5)
    store.read_up_to("discord", 6)
    store.schedule_handled("daily", 10.0)
    store.schedule_handled("daily", 20.5)
    store.schedule_handled("gone", 1.0)
    store.forget_schedule("gone")
    await store.durable()
    store.close()
    again = Store.open(path)
    again.close()
    assert again.restored.seen == {"discord": {7}, "local": {6}}
    assert again.restored.read_up_to == {"discord": 6}
    assert again.restored.schedules == {"daily": 20.5}


async def test_the_places_of_processes_that_have_not_ended_are_known_after_a_restart(path):
    places = [PlaceRecord(f"s-{number}", "local", {"pid": number}, f"100{number}") for number in range(3)]
    store = Store.open(path)
    for place in places:
        store.process_started(place)
    store.process_ended("s-1")
    await store.durable()
    store.close()
    again = Store.open(path)
    again.forget_processes()
    await again.durable()
    again.close()
    last = Store.open(path)
    last.close()
    assert (again.restored.places, last.restored.places) == ([places[0], places[2]], [])


async def test_turns_that_others_have_passed_come_after_all_others_in_their_order(path):
    store = Store.open(path)
    for name in ("1", "2", "3", "4"):
        store.turn_queued(TurnRecord(name, "1001", "discord", "queued", b"asks"))
    store.turns_passed(["1", "3"])
    store.turn_revised("3", b"asks for more")
    store.turn_started("2")
    store.turn_settled("4")
    store.turn_queued(TurnRecord("1", "1001", "discord", "queued", b"asks again"))
    await store.durable()
    store.close()
    again = Store.open(path)
    again.close()
    assert [(turn.turn_id, turn.state, turn.message) for turn in again.restored.turns] == [
        ("2", "running", b"asks"),
        ("1", "queued", b"asks again"),
        ("3", "queued", b"asks for more"),
    ]


async def test_the_last_events_and_prompts_are_kept_and_files_of_the_newest_prompts_only(path, monkeypatch):
    for name, most in (("EVENTS_MOST", 2), ("PROMPTS_MOST", 3), ("PROMPT_FILES_MOST", 2)):
        monkeypatch.setattr(f"acpbot.storage.store.{name}", most)
    store = Store.open(path)
    for number in range(1, 5):
        store.save_prompt(PromptRecord(str(number), b"words", has_files=True, files=b"file"))
        store.save_event(EventRecord(id=number, at="2026", kind="started", thread_id="1001"))
    kept = [await store.prompt(str(number)) for number in range(1, 5)]
    store.close()
    again = Store.open(path)
    again.close()
    assert [record and record.files for record in kept] == [None, None, b"file", b"file"]
    assert [record is not None for record in kept] == [False, True, True, True]
    assert [event.id for event in again.restored.events] == [3, 4]
