"""Threads: opened from a message, named after it, later renamed to the agent's own title."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from acpbot.chat.discord.outbound.rest import Refused, Unreachable
from acpbot.logs import get_logger
from acpbot.sessions.thread import TITLE_LENGTH, title_from
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.rest import Rest

log = get_logger(__name__)

RENAMES_MOST: Final = 2
RENAMES_SECONDS: Final = 600.0
"""Discord allows two renames of a channel in ten minutes, and announces it by no header."""

_OPEN_TRIES: Final = 12
_RENAME_TRIES: Final = 3
_KNOWN_MOST: Final = 4096


def name_for(text: str) -> str:
    """A thread's name: the first line of the message that says something, 80 characters at most."""
    return one_line(title_from(text) or "", TITLE_LENGTH) or "Conversation"


class Threads:
    """Opens and renames. ``clock``: monotonic seconds."""

    def __init__(self, outbox: Outbox, clock: Callable[[], float]) -> None:
        self._outbox = outbox
        self._rest: Rest = outbox.rest
        self._clock = clock
        self._names: dict[str, str] = {}
        self._wanted: dict[str, str] = {}
        self._renames: dict[str, deque[float]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def open(self, channel_id: str, message_id: str, text: str) -> str:
        """A thread from this message; its id. Raises Refused, and Unreachable after many tries."""
        name = name_for(text)
        failures = 0
        while True:
            try:
                thread_id = await self._rest.open_thread(channel_id, message_id, name)
            except Unreachable:
                failures += 1
                if failures >= _OPEN_TRIES:
                    raise
                await self._outbox.pause(failures)
            else:
                self.named(thread_id, name)
                return thread_id

    def named(self, thread_id: str, name: str) -> None:
        """A thread of ours has this name; one that somebody else has given is left alone from then on."""
        self._names[thread_id] = name
        if len(self._names) > _KNOWN_MOST:
            del self._names[next(iter(self._names))]

    def renamed_by_somebody(self, thread_id: str, name: str) -> None:
        """A thread has this name now; if it is none of ours, a person wanted it."""
        if thread_id in self._names and name not in {self._names[thread_id], self._wanted.get(thread_id)}:
            del self._names[thread_id]
            self._wanted.pop(thread_id, None)

    def title(self, thread_id: str, title: str) -> None:
        """The agent calls its session so: name the thread after it, within the limits, the latest title last."""
        name = one_line(title, TITLE_LENGTH)
        if not name or thread_id not in self._names or name in {self._names[thread_id], self._wanted.get(thread_id)}:
            return
        self._wanted[thread_id] = name
        if thread_id not in self._tasks:
            task = asyncio.create_task(self._rename(thread_id), name=f"discord rename {thread_id}")
            self._tasks[thread_id] = task
            task.add_done_callback(lambda _task: self._tasks.pop(thread_id, None))

    async def close(self) -> None:
        """Rename nothing more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _rename(self, thread_id: str) -> None:
        failures = 0
        while thread_id in self._wanted:
            await asyncio.sleep(self._renames_left_in(thread_id))
            name = self._wanted.get(thread_id)
            if name is None or name == self._names.get(thread_id):
                self._wanted.pop(thread_id, None)
                return
            self._renames.setdefault(thread_id, deque(maxlen=RENAMES_MOST)).append(self._clock())
            try:
                await self._rest.change_thread(thread_id, name=name)
            except Refused as error:
                log.info("discord_rename_refused", thread=thread_id, error=str(error))
                self._wanted.pop(thread_id, None)
                self._names.pop(thread_id, None)
            except Unreachable:
                failures += 1
                if failures >= _RENAME_TRIES:
                    self._wanted.pop(thread_id, None)
                    return
                await self._outbox.pause(failures)
            else:
                failures = 0
                self.named(thread_id, name)
                if self._wanted.get(thread_id) == name:
                    del self._wanted[thread_id]

    def _renames_left_in(self, thread_id: str) -> float:
        """Seconds until the next rename is allowed."""
        now = self._clock()
        self._renames = {key: times for key, times in self._renames.items() if now - times[-1] < RENAMES_SECONDS}
        times = self._renames.get(thread_id, deque())
        return max(0.0, times[0] + RENAMES_SECONDS - now) if len(times) == RENAMES_MOST else 0.0
