"""The last output of each thread, in the database, and how its last session ended: what an operator reads later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.logs import get_logger
from acpbot.sessions.last_end import last_end, sentence
from acpbot.sessions.output import OutputRing
from acpbot.sessions.views import Detail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from acpbot.config.in_force import SettingsInForce
    from acpbot.runtimes.runtime import AgentProcess
    from acpbot.sessions.output import Line
    from acpbot.sessions.views import Reason, Row
    from acpbot.storage.records import ThreadRecord
    from acpbot.storage.store import Store

log = get_logger(__name__)

BYTES_MOST: Final = 65_536
"""Of JSON, for each thread."""

_DECODER: Final = msgspec.json.Decoder(list[dict[str, str]])


class KeptOutput:
    """Keeps it while ``[store] keep_output`` is on. ``threads``: those that are known, by id. ``wall``: Unix time."""

    def __init__(
        self,
        store: Store,
        settings: SettingsInForce,
        threads: Mapping[str, ThreadRecord],
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._wall = wall
        self._settings = settings
        self._threads = threads
        self._erased = False

    def ring(self, thread: ThreadRecord, session_id: str) -> OutputRing:
        """The output of a new session of the thread, which is kept here."""
        return OutputRing(thread.thread_id, session_id, partial(self.keep, thread))

    async def restore(self, output: OutputRing) -> None:
        """Put what the thread's session before has written in front of a new one's output."""
        output.restore(await self.read(output.thread_id))

    def session_ended(
        self,
        thread: ThreadRecord,
        output: OutputRing,
        process: AgentProcess | None,
        reason: Reason,
        detail: str | None,
    ) -> None:
        """Note how a session of the thread has ended; parameters as :func:`~acpbot.sessions.last_end.last_end`'s."""
        thread.last_end = last_end(reason, detail, process, self._wall())
        output.session_ended(sentence(thread.last_end))

    def keep(self, thread: ThreadRecord, lines: Iterable[Line]) -> None:
        """Keep these lines of a thread, the last 64 KiB of them, in place of what was kept; not of a forgotten one."""
        if self._settings.now.store.keep_output and self._threads.get(thread.thread_id) is thread:
            self._erased = False
            self._store.save_output(thread.thread_id, encoded(lines))

    def apply_settings(self) -> None:
        """Erase all of it where nothing is to be kept any more."""
        if not self._settings.now.store.keep_output and not self._erased:
            self._erased = True
            self._store.forget_outputs()

    async def read(self, thread_id: str) -> list[Any]:
        """The lines that are kept of a thread, oldest first."""
        if not self._settings.now.store.keep_output:
            return []
        found = await self._store.output(thread_id)
        try:
            return [] if found is None else [{"thread": thread_id, **line} for line in _DECODER.decode(found)]
        except msgspec.MsgspecError:
            log.warning("kept_output_unreadable", thread=thread_id)
            return []

    async def detail(self, row: Row) -> Detail:
        """The detail of a thread without a session: its row, and what is kept of its agent's stderr."""
        lines = await self.read(row.thread_id)
        stderr = [line["text"] for line in lines if line["kind"] == "stderr"]
        return Detail(**msgspec.structs.asdict(row), stderr=stderr)


def encoded(lines: Iterable[Line]) -> bytes:
    """The last lines that fit into :data:`BYTES_MOST`, as JSON, without the thread's id."""
    kept: list[bytes] = []
    size = 2
    for line in reversed(list(lines)):
        data = msgspec.json.encode({name: value for name, value in line.items() if name != "thread"})
        size += len(data) + 1
        if size > BYTES_MOST:
            break
        kept.append(data)
    return b"[" + b",".join(reversed(kept)) + b"]"
