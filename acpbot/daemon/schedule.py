"""Sends the prompts of ``[[schedule]]`` when their times come.

A run that comes while an earlier run of the same entry is still at work is left out. A time that passed while acpbot
was not running is not made up for, unless it was only just missed; the thread, or the channel, reads of both. What an
entry's next run needs is stored, so a restart loses and repeats none.
"""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from acpbot.aio import TaskSet
from acpbot.errors import AcpbotError, Conflict, TimedOut, TooMany
from acpbot.logs import get_logger
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acpbot.chat.operator import OperatorActions
    from acpbot.chat.turn_events import Event
    from acpbot.config.schedules import ScheduleSettings
    from acpbot.sessions.events import EventLog, Kind
    from acpbot.storage.store import Store

log = get_logger(__name__)

LATE_SECONDS: Final = 300.0
"""How late a run may begin: after a restart, or where Discord can't be reached."""
RETRY_SECONDS: Final = 15.0
_USER: Final = "schedule"
_MISSED_MOST: Final = 1000
_NAME_LENGTH: Final = 80


class _Entry:
    """One entry: when it runs next, and what its last run does."""

    def __init__(self, settings: ScheduleSettings, number: int, handled: float) -> None:
        self.settings = settings
        self.number = number
        self.due = next(settings.times_after(handled))
        self.pending: float | None = None
        """The time of a run that has come, and has not begun."""
        self.retry_at = 0.0
        self.missed: list[float] = []
        """Times that passed without a run, and of which nobody has read."""
        self.busy = False
        """A run begins, waits in its thread's queue or is at work."""

    def take_due(self, now: float) -> list[float]:
        """The times that have come, :data:`_MISSED_MOST` at most; the next one is after ``now``."""
        if self.due > now:
            return []
        times = itertools.chain([self.due], self.settings.times_after(self.due))
        come = list(itertools.islice(itertools.takewhile(lambda time: time <= now, times), _MISSED_MOST))
        self.due = next(self.settings.times_after(now))
        return come

    @property
    def name(self) -> str:
        """What people know it by: the beginning of its text."""
        return f'"{one_line(self.settings.text, _NAME_LENGTH)}"'

    def when(self, time: float) -> str:
        """A time, in the entry's own time zone."""
        zone = self.settings.timezone
        return f"{datetime.fromtimestamp(time, ZoneInfo(zone)):%Y-%m-%d %H:%M} ({zone})"


class Scheduler:
    """Runs the entries. Call :meth:`tick` every second or so. ``wall``: Unix time in seconds.

    All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        schedule: Sequence[ScheduleSettings],
        *,
        operator: OperatorActions,
        store: Store,
        events: EventLog,
        wall: Callable[[], float],
    ) -> None:
        self._operator = operator
        self._store = store
        self._events = events
        self._wall = wall
        self._tasks = TaskSet("schedule")
        self._entries: dict[str, _Entry] = {}
        self._handled = dict(store.restored.schedules)
        self.replace(schedule)

    def replace(self, schedule: Sequence[ScheduleSettings]) -> None:
        """Follow these entries from now on; one that was there before goes on."""
        now, before = self._wall(), self._entries
        self._entries = {}
        for number, settings in enumerate(schedule, 1):
            key = settings.key
            entry = before.get(key)
            if entry is None:
                if key not in self._handled:
                    self._store.schedule_handled(key, now)
                entry = _Entry(settings, number, self._handled.get(key, now))
            entry.number = number
            self._entries[key] = entry
        for key in (self._handled.keys() | before.keys()) - self._entries.keys():
            self._store.forget_schedule(key)
        self._handled = {}

    async def close(self) -> None:
        """Begin no more runs; what has begun goes on."""
        self._entries = {}
        await self._tasks.cancel()

    async def settled(self) -> None:
        """Return once what :meth:`tick` began has begun, or could not."""
        await self._tasks.wait()

    async def tick(self) -> None:
        """Begin what is due."""
        now = self._wall()
        for key, entry in self._entries.items():
            if come := entry.take_due(now):
                self._store.schedule_handled(key, come[-1])
                self._come(entry, come, now)
            if entry.pending is None:
                self._report_missed(entry)
            elif not entry.busy and now >= entry.retry_at:
                entry.retry_at = now + RETRY_SECONDS
                entry.busy = True
                self._tasks.start(self._begin(entry, entry.pending), name="begin a scheduled run")

    def _come(self, entry: _Entry, come: list[float], now: float) -> None:
        *missed, last = come
        if entry.pending is not None and not entry.busy:
            missed.insert(0, entry.pending)
            entry.pending = None
        entry.missed += missed
        if now - last > LATE_SECONDS:
            entry.missed.append(last)
        elif entry.busy:
            text = f"The scheduled task {entry.name} is still at work, so I left out its run of {entry.when(last)}."
            self._report("schedule_skipped", entry, last, text, "the run before has not ended")
        else:
            entry.pending, entry.retry_at = last, now

    def _report_missed(self, entry: _Entry) -> None:
        """Say once what was missed, not each time again while Discord can't be reached."""
        if not entry.missed:
            return
        missed, entry.missed = entry.missed, []
        last, count = entry.when(missed[-1]), len(missed)
        why = "I wasn't available then"
        text = f"The scheduled task {entry.name} did not run at {last}: {why}."
        if count > 1:
            text = f"The scheduled task {entry.name} missed {count} runs, the last one at {last}: {why}."
        self._report("schedule_missed", entry, missed[-1], text, f"{count} run{'' if count == 1 else 's'}")

    async def _begin(self, entry: _Entry, time: float) -> None:
        """Begin a run; where that may work later, :meth:`tick` tries again."""
        settings = entry.settings

        def follow(event: Event) -> None:
            if event["type"] == "turn_end":
                entry.busy = False

        text, follower = settings.text, self._operator.follow(follow, settings.text)
        try:
            if settings.thread is not None:
                place = settings.thread
                self._operator.send(place, text, _USER, agent=None, follower=follower, scheduled=True)
            else:
                channel, agent = settings.channel or "", settings.agent
                place, _ = await self._operator.begin(
                    channel, text, _USER, agent=agent, follower=follower, scheduled=True
                )
        except AcpbotError as error:
            entry.busy = False
            if isinstance(error, (Conflict, TimedOut, TooMany)) and self._wall() - time <= LATE_SECONDS:
                log.info("schedule_run_delayed", schedule=entry.number, reason=str(error))
                return
            entry.pending = None
            sentence = f"The scheduled task {entry.name} could not start at {entry.when(time)}."
            self._report("schedule_failed", entry, time, sentence, str(error))
            return
        entry.pending = None
        self._events.record("schedule_started", detail=f"schedule {entry.number} in {place}, for {entry.when(time)}")
        log.info("schedule_run_began", schedule=entry.number, thread=place)

    def _report(self, kind: Kind, entry: _Entry, time: float, text: str, reason: str) -> None:
        """Say that a run was left out: in the log, the events, and where the run would have been seen."""
        detail = f"schedule {entry.number}, {entry.when(time)}: {reason}"
        log.warning(kind, schedule=entry.number, time=entry.when(time), reason=reason)
        self._events.record(kind, detail=detail)
        try:
            if entry.settings.thread is not None:
                self._operator.notice(entry.settings.thread, text)
            else:
                self._operator.notice_in_channel(entry.settings.channel or "", text)
        except AcpbotError as error:
            log.warning("schedule_report_not_shown", schedule=entry.number, reason=str(error))
