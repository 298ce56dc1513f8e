"""Prompts that acpbot sends by itself: when they run, and what people read of those that do not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pytest

from acpbot.config.schedules import ScheduleSettings
from acpbot.daemon.schedule import LATE_SECONDS, RETRY_SECONDS, Scheduler
from acpbot.errors import Conflict, NotFound
from acpbot.sessions.events import EventLog
from acpbot.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from acpbot.chat.operator import OperatorActions

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC).timestamp()
HOUR = 3600.0


def entry(**keys) -> ScheduleSettings:
    keys = {"cron": "0 * * * *", "thread": "team", "text": "look at the issues"} | keys
    return ScheduleSettings(**keys)


class Desk:
    """In the place of the operator's actions: what was sent and said, and an end of each turn on demand."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str | None]] = []
        self.said: list[str] = []
        self.trouble: list[Exception] = []
        self.ends: list = []

    def follow(self, emit, _text):
        self.ends.append(lambda: emit({"type": "turn_end"}))
        return len(self.ends)

    def send(self, thread, text, _user, *, agent, follower, scheduled) -> int:
        assert scheduled
        assert follower
        if self.trouble:
            raise self.trouble.pop(0)
        self.sent.append((thread, text, agent))
        return 0

    async def begin(self, channel, text, _user, *, agent, follower, scheduled):
        return f"thread in {channel}", self.send(
            channel, text, _user, agent=agent, follower=follower, scheduled=scheduled
        )

    def notice(self, thread, text) -> None:
        self.said.append(f"{thread}: {text}")

    notice_in_channel = notice


class Timetable:
    """A scheduler at a time that the test sets, over a store."""

    def __init__(self, *schedule: ScheduleSettings, store: Store | None = None, now: float = NINE + 1) -> None:
        self.now = now
        self.desk = Desk()
        self.events = EventLog(Store(), lambda: self.now)
        self.kinds: list[str] = []
        self.events.follow(lambda event: self.kinds.append(event.kind))
        self.scheduler = Scheduler(
            schedule,
            operator=cast("OperatorActions", self.desk),
            store=store or Store(),
            events=self.events,
            wall=lambda: self.now,
        )

    async def at(self, now: float) -> None:
        self.now = now
        await self.scheduler.tick()
        await self.scheduler.settled()


async def test_a_run_begins_when_its_time_comes_and_once():
    table = Timetable(entry())
    await table.at(NINE + HOUR - 1)
    assert table.desk.sent == []
    await table.at(NINE + HOUR)
    await table.at(NINE + HOUR + 1)
    assert table.desk.sent == [("team", "look at the issues", None)]
    table.desk.ends[-1]()
    await table.at(NINE + 2 * HOUR)
    assert len(table.desk.sent) == 2
    assert table.kinds == ["schedule_started"] * 2
    assert table.desk.said == []


async def test_each_entry_has_its_own_time_zone():
    table = Timetable(entry(cron="0 9 * * *", timezone="Asia/Tokyo", channel="7", thread=None, agent="demo"))
    midnight = NINE - 9 * HOUR
    await table.at(midnight + 24 * HOUR - 1)
    assert table.desk.sent == []
    await table.at(midnight + 24 * HOUR)
    assert table.desk.sent == [("7", "look at the issues", "demo")]


async def test_a_run_is_left_out_while_the_one_before_is_at_work():
    table = Timetable(entry())
    await table.at(NINE + HOUR)
    await table.at(NINE + 2 * HOUR)
    assert len(table.desk.sent) == 1
    (said,) = table.desk.said
    assert said.startswith('team: The scheduled task "look at the issues" is still at work, ')
    assert said.endswith("so I left out its run of 2026-03-02 11:00 (UTC).")
    table.desk.ends[-1]()
    await table.at(NINE + 3 * HOUR)
    assert len(table.desk.sent) == 2


async def test_a_restart_loses_and_repeats_no_run(tmp_path: Path):
    path = tmp_path / "acpbot.sqlite3"
    store = Store.open(path)
    await Timetable(entry(), store=store).at(NINE + HOUR)
    store.close()
    store = Store.open(path)
    again = Timetable(entry(), store=store, now=NINE + HOUR + 60)
    await again.at(NINE + HOUR + 60)
    assert again.desk.sent == []
    await again.at(NINE + 2 * HOUR)
    assert len(again.desk.sent) == 1
    store.close()


@pytest.mark.parametrize(("late", "runs"), [(LATE_SECONDS - 1, 1), (LATE_SECONDS + 1, 0)])
async def test_a_run_that_was_only_just_missed_is_made_up_for(tmp_path: Path, late: float, runs: int):
    path = tmp_path / "acpbot.sqlite3"
    store = Store.open(path)
    Timetable(entry(), store=store)
    store.close()
    store = Store.open(path)
    table = Timetable(entry(), store=store, now=NINE + 3 * HOUR + late)
    await table.at(table.now)
    await table.at(table.now + 1)
    assert len(table.desk.sent) == runs
    missed = 3 - runs
    assert [text for text in table.desk.said if f"missed {missed} runs" in text], table.desk.said
    assert len(table.desk.said) == 1
    store.close()


async def test_a_run_that_cannot_begin_is_tried_again_and_then_missed_once():
    table = Timetable(entry())
    table.desk.trouble = [Conflict("cannot start a thread: Discord is not connected now")] * 2
    await table.at(NINE + HOUR)
    await table.at(NINE + HOUR + 1)
    assert len(table.desk.trouble) == 1
    await table.at(NINE + HOUR + RETRY_SECONDS)
    await table.at(NINE + HOUR + 2 * RETRY_SECONDS)
    assert len(table.desk.sent) == 1
    table.desk.ends[-1]()
    table.desk.trouble = [Conflict("the same")] * 99
    for second in range(0, int(LATE_SECONDS) + 60, 5):
        await table.at(NINE + 2 * HOUR + second)
    assert [text for text in table.desk.said if "could not start" in text]
    assert len(table.desk.said) == 1


async def test_a_run_that_cannot_work_is_reported_at_once():
    table = Timetable(entry())
    table.desk.trouble = [NotFound("cannot find thread team")]
    await table.at(NINE + HOUR)
    await table.at(NINE + HOUR + RETRY_SECONDS)
    assert table.desk.sent == []
    assert table.kinds == ["schedule_failed"]


async def test_a_reload_keeps_what_runs_and_begins_what_is_new_with_its_next_time():
    table = Timetable(entry())
    await table.at(NINE + HOUR)
    table.scheduler.replace([entry(text="new"), entry()])
    await table.at(NINE + 2 * HOUR)
    assert [text for _, text, _ in table.desk.sent] == ["look at the issues", "new"]
    table.scheduler.replace([])
    await table.at(NINE + 3 * HOUR)
    assert len(table.desk.sent) == 2
