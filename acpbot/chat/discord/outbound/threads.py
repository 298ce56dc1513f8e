"""Threads: opened from a message, named after it, renamed later to the agent's own title, and archived."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from acpbot.aio import KeyedLocks, TaskSet, retry
from acpbot.chat.discord.outbound import rest
from acpbot.chat.discord.outbound.rest import RequestRefused, Unreachable
from acpbot.logs import get_logger
from acpbot.sessions.thread import TITLE_LENGTH, title_from
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.rest import Rest

log = get_logger(__name__)

RENAMES_MOST: Final = 2
RENAMES_SECONDS: Final = 600.0
"""Discord allows two renames of a channel in ten minutes, and announces it by no header."""

_OPEN_TRIES: Final = 12
_RENAME_TRIES: Final = 3
_ARCHIVE_TRIES: Final = 3
_KNOWN_MOST: Final = 4096


def name_for(text: str) -> str:
    """A thread's name: the first line of the message that says something, 80 characters at most."""
    return one_line(title_from(text) or "", TITLE_LENGTH) or "Conversation"


def not_opened_text(error: RequestRefused | Unreachable, missing: Sequence[str]) -> str:
    """What people read where no thread can be opened; ``missing``: the permissions that the bot lacks, by name."""
    if isinstance(error, Unreachable):
        return "I can't open a thread: Discord isn't responding right now. Please try again in a moment."
    match error.code:
        case rest.TOO_MANY_THREADS:
            return "I can't open a thread: this server has too many active ones. Close or archive some, then try again."
        case rest.WRONG_CHANNEL:
            return "I can't open threads in this kind of channel. Mention me in a text channel, or in a thread."
        case code if code in rest.LOCKED:
            return "I can't open a thread: this one is locked. A moderator can unlock it."
    if error.status != rest.FORBIDDEN:
        return "Discord doesn't let me open a thread here. An admin can check the log."
    if not missing:
        return "I'm not allowed to open a thread here. Ask an admin of this server to check my permissions."
    names = ", ".join(f"**{name}**" for name in missing)
    noun = "this permission" if len(missing) == 1 else "these permissions"
    return f"I can't open a thread here: I need {noun}: {names}. Ask an admin of this server."


class Threads:
    """Opens, renames and archives. ``clock``: monotonic seconds; ``archive_minutes``: as :meth:`Rest.open_thread`'s."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Callable[[], float],
        on_crash: Callable[[BaseException], object] | None = None,
        archive_minutes: Callable[[], int] = lambda: 1440,
    ) -> None:
        self._archive_minutes = archive_minutes
        self._outbox = outbox
        self._rest: Rest = outbox.rest
        self._clock = clock
        self._names: dict[str, str] = {}
        self._wanted: dict[str, str] = {}
        self._renames: dict[str, deque[float]] = {}
        self._renaming: set[str] = set()
        self._opening = KeyedLocks()
        self._tasks = TaskSet("discord threads", on_crash)

    async def open(self, channel_id: str, message_id: str, text: str) -> str:
        """A thread from this message; its id. Raises Refused, and Unreachable after many tries."""
        name = name_for(text)
        opened = partial(self._open_once, channel_id, message_id, name)
        thread_id = await retry(opened, on=(Unreachable,), backoff=self._outbox.retries, attempts=_OPEN_TRIES)
        self.named(thread_id, name)
        return thread_id

    async def _open_once(self, channel_id: str, message_id: str, name: str) -> str:
        # One after the other in the order of the calls: where a limit is reached, discord.py does not keep the order.
        async with self._opening.hold(channel_id):
            archive_minutes = self._archive_minutes()
            return await self._rest.open_thread(channel_id, message_id, name, archive_minutes=archive_minutes)

    def named(self, thread_id: str, name: str) -> None:
        """Note the name of a thread of ours; one that somebody else renames is left alone from then on."""
        self._names[thread_id] = name
        if len(self._names) > _KNOWN_MOST:
            del self._names[next(iter(self._names))]

    def renamed_by_somebody(self, thread_id: str, name: str) -> None:
        """A thread has this name now; if we have not given it, a person has."""
        if thread_id in self._names and name not in {self._names[thread_id], self._wanted.get(thread_id)}:
            del self._names[thread_id]
            self._wanted.pop(thread_id, None)

    def title(self, thread_id: str, title: str) -> None:
        """Name the thread after its agent's title, within Discord's limits; of several titles, the latest at last."""
        name = one_line(title, TITLE_LENGTH)
        if not name or thread_id not in self._names or name in {self._names[thread_id], self._wanted.get(thread_id)}:
            return
        self._wanted[thread_id] = name
        if thread_id not in self._renaming:
            self._renaming.add(thread_id)
            self._tasks.start(self._rename(thread_id), name=thread_id)

    def archive(self, thread_id: str, *, is_wanted: Callable[[], bool]) -> None:
        """Archive a thread once all that is to be said there is delivered, where ``is_wanted`` still holds then.

        Whoever writes in it reopens it. Where Discord does not let us, it stays open.
        """
        self._tasks.start(self._archive(thread_id, is_wanted), name=f"archive {thread_id}")

    async def _archive(self, thread_id: str, is_wanted: Callable[[], bool]) -> None:
        queue = self._outbox.queue(thread_id)
        archive = partial(self._rest.change_thread, thread_id, archived=True)
        try:
            while running := list(queue.running.values()):
                await asyncio.wait(running)
            if is_wanted():
                await retry(archive, on=(Unreachable,), backoff=self._outbox.retries, attempts=_ARCHIVE_TRIES)
        except (RequestRefused, Unreachable) as error:
            log.info("discord_archive_failed", thread=thread_id, error=str(error))

    async def close(self) -> None:
        """Rename and archive nothing more."""
        await self._tasks.cancel()

    async def _rename(self, thread_id: str) -> None:
        rename = partial(self._rename_once, thread_id)
        try:
            while thread_id in self._wanted:
                await retry(rename, on=(Unreachable,), backoff=self._outbox.retries, attempts=_RENAME_TRIES)
        except RequestRefused as error:
            log.info("discord_rename_refused", thread=thread_id, error=str(error))
            self._names.pop(thread_id, None)
        except Unreachable as error:
            log.info("discord_rename_failed", thread=thread_id, error=str(error))
        finally:
            self._wanted.pop(thread_id, None)
            self._renaming.discard(thread_id)

    async def _rename_once(self, thread_id: str) -> None:
        """Give a thread the latest name that is wanted, as soon as that is allowed. Raises Refused, Unreachable."""
        await asyncio.sleep(self._seconds_to_next_rename(thread_id))
        name = self._wanted.get(thread_id)
        if name is not None and name != self._names.get(thread_id):
            self._renames.setdefault(thread_id, deque(maxlen=RENAMES_MOST)).append(self._clock())
            await self._rest.change_thread(thread_id, name=name)
            self.named(thread_id, name)
        if self._wanted.get(thread_id) == name:
            self._wanted.pop(thread_id, None)

    def _seconds_to_next_rename(self, thread_id: str) -> float:
        """Seconds until the next rename is allowed."""
        now = self._clock()
        self._renames = {key: times for key, times in self._renames.items() if now - times[-1] < RENAMES_SECONDS}
        times = self._renames.get(thread_id, deque())
        return max(0.0, times[0] + RENAMES_SECONDS - now) if len(times) == RENAMES_MOST else 0.0
