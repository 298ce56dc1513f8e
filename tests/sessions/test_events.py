"""What is kept of sessions and of the daemon as events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acpbot.sessions.events import EventLog
from acpbot.storage.database import Database
from acpbot.storage.store import APPLICATION_ID, EVENTS_MOST, MIGRATIONS, Store

if TYPE_CHECKING:
    from acpbot.storage.records import EventRecord
    from tests.support.pool import Harness


def kinds(log: EventLog) -> list[tuple[str, str | None, str | None, int | None]]:
    return [(event.kind, event.thread_id, event.reason, event.exit_code) for event in log.latest(EVENTS_MOST)]


async def test_starts_and_ends_of_sessions_are_events_with_their_reasons(make_harness):
    harness: Harness = make_harness()
    await harness.turn("1001", "say a")
    await harness.turn("1001", "crash 3")
    await harness.turn("1001", "say b")
    session = harness.session("1001").session_id
    await harness.pool.suspend("1001", session)
    assert kinds(harness.pool.events) == [
        ("session_started", "1001", "new", None),
        ("session_ended", "1001", "crashed", 3),
        ("session_started", "1001", "resumed", None),
        ("session_ended", "1001", "suspended", harness.pool.events.latest(1)[0].exit_code),
    ]
    crash = harness.pool.events.latest(3)[0]
    assert crash.agent == "demo"
    assert crash.detail is None


async def test_a_crash_names_what_the_agent_wrote_last(faulty_harness):
    harness: Harness = faulty_harness("dies turn")
    listener = harness.send("1001", "go")
    await listener.over.wait()
    event = harness.pool.events.latest(1)[0]
    assert (event.kind, event.reason, event.detail) == ("session_ended", "crashed", "it broke")


async def test_a_silent_turn_is_an_event_once(make_harness):
    harness: Harness = make_harness(stuck_after_seconds=10)
    listener = harness.send("1001", "hang")
    await listener.running.wait()
    harness.clock.move(11)
    harness.pool.tick()
    harness.pool.tick()
    stuck = [event for event in harness.pool.events.latest(10) if event.kind == "session_stuck"]
    assert [(event.thread_id, event.detail) for event in stuck] == [("1001", "no output for 11 seconds")]


async def test_events_survive_a_restart_and_the_last_ones_are_kept(tmp_path):
    path = tmp_path / "acpbot.sqlite3"
    Database(path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:3]).close()
    store = Store.open(path)
    log = EventLog(store, lambda: 1_795_000_000.0)
    for number in range(EVENTS_MOST + 5):
        log.record("config_refused", detail=f"line\n{number}")
    await store.durable()
    await asyncio.to_thread(store.close)
    again = Store.open(path)
    events = EventLog(again, lambda: 1_795_000_001.0)
    kept = events.latest(EVENTS_MOST + 5)
    events.record("daemon_started")
    await asyncio.to_thread(again.close)
    assert (len(kept), kept[0].id, kept[-1].detail) == (EVENTS_MOST, 6, f"line {EVENTS_MOST + 4}")
    assert events.latest(1)[0].id == EVENTS_MOST + 6


def test_a_follower_with_a_defect_keeps_nothing_from_the_others():
    log = EventLog(Store(), lambda: 0.0)
    seen: list[EventRecord] = []

    def broken(_event: EventRecord) -> None:
        raise ValueError("a defect")

    log.follow(broken)
    leave = log.follow(seen.append)
    log.record("drain_started")
    leave()
    log.record("drain_ended")
    assert [event.kind for event in seen] == ["drain_started"]
