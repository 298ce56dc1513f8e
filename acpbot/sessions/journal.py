"""What the pool has written down, and what of an earlier life it begins with."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from acpbot.logs import get_logger
from acpbot.sessions.thread import Thread
from acpbot.storage.records import ProcessRecord, TurnRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from acpbot.sessions.session import Session
    from acpbot.sessions.thread import Workspace
    from acpbot.sessions.turn import Turn
    from acpbot.storage.store import Store

log = get_logger(__name__)

CLOCK_SET_SECONDS: Final = 3600.0
"""Smaller steps of the wall clock do not matter to times to live, which are hours."""


class PoolJournal:
    """The store, as the pool speaks to it. ``wall``: Unix time; a monotonic clock means nothing in another life."""

    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._ahead: float | None = None
        self._written = {record.thread_id: record for record in store.restored.threads}

    def threads(self) -> dict[str, Thread]:
        """The threads of earlier lives."""
        return {key: Thread.restored(record) for key, record in self._written.items()}

    def now(self) -> float:
        """Unix time."""
        return self._wall()

    def mind_the_clock(self, monotonic: float, threads: Iterable[Thread]) -> None:
        """Where the wall clock has been set, count each thread's time anew: nothing is too old because of that.

        A machine without a clock of its own may begin in 1970, and be told years later what year it is.
        """
        ahead = self._wall() - monotonic
        if self._ahead is not None and abs(ahead - self._ahead) >= CLOCK_SET_SECONDS:
            log.warning("clock_set", seconds=round(ahead - self._ahead))
            for thread in threads:
                thread.used_at = self._wall()
                self.keep(thread)
        self._ahead = ahead

    def keep(self, thread: Thread) -> None:
        """Write a thread down where it has changed."""
        before = self._written.get(thread.thread_id)
        if before is not None and before.turns != thread.turns:
            thread.used_at = self._wall()
        record = thread.record()
        if record != before:
            self._written[thread.thread_id] = record
            self._store.save_thread(record)

    def forget(self, thread: Thread) -> None:
        """Its conversation is over for good."""
        self._written.pop(thread.thread_id, None)
        self._store.forget_thread(thread.thread_id)

    def launched(self, session: Session) -> None:
        """A session's leader runs; where it has a pid of this machine's, the next life will know it by that."""
        found = None if session.process is None else session.process.identity
        if found is not None:
            record = ProcessRecord(session.session_id, found.pid, found.start_time, found.boot_id)
            self._store.process_started(record)

    def gone(self, session: Session) -> None:
        """Nothing of a session's is left, or nothing that could be ended."""
        session.thread.used_at = self._wall()
        self._store.process_ended(session.session_id)

    def queued(self, turn: Turn, thread: Thread) -> None:
        """A turn waits."""
        if turn.message is not None:
            record = TurnRecord(turn.turn_id, thread.thread_id, thread.platform, "queued", turn.message)
            self._store.turn_queued(record)

    async def starting(self, turn: Turn) -> None:
        """A turn's prompt may be sent once this returns: another life will know that it may have been."""
        if turn.message is not None:
            self._store.turn_started(turn.turn_id)
            await self._store.durable()


def remove_workspace(workspace: Workspace, thread: Thread) -> None:
    """Remove a forgotten thread's own folder, and never anything else: not what it links to, not a shared one. Blocks.

    Raises nothing: what can't be removed stays, and is logged.
    """
    folder = own_folder(workspace, thread)
    if folder is None:
        return
    try:
        # It works by descriptors: a link that is put in a folder's place meanwhile is not followed (shutil, Linux).
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("workspace_not_removed", thread=thread.thread_id, folder=str(folder), error=str(error))
    else:
        log.info("workspace_removed", thread=thread.thread_id, folder=str(folder))


def own_folder(workspace: Workspace, thread: Thread) -> Path | None:
    """The folder that was made for this thread alone; ``None`` where it works elsewhere, or a link stands there."""
    folder = workspace.root / thread.thread_id
    if workspace.mode != "thread" or thread.cwd != folder or folder.is_symlink() or not folder.is_dir():
        return None
    return folder if folder.resolve() == workspace.root.resolve() / thread.thread_id else None
