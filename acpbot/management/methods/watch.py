"""``sessions.watch`` and ``sessions.tail``: streams of changed rows and of agents' output."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta

from acpbot.errors import NotFound
from acpbot.management.method import Call, Method, NoParams, Params
from acpbot.management.since import utc_time
from acpbot.sessions.output import FOR_ADMINS
from acpbot.sessions.views import for_readers
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.connection import ClientConnection
    from acpbot.management.method import Sessions
    from acpbot.management.stream import Event, Stream
    from acpbot.sessions.views import Row

MAX_LINES: Final = 1000
KEPT_OUTPUTS: Final = 200


class SessionsTail(Params, frozen=True):
    """``thread``: as in sessions.get. ``lines``: how many recent ones; all that are kept where it is left out."""

    thread: str
    lines: Annotated[int, Meta(ge=0, le=MAX_LINES)] | None = None
    since: str | None = None


def watch(call: Call, _params: NoParams) -> dict[str, Any]:
    """Rows now, then numbered events."""
    watching = _Watch(call.services.pool, admin=call.client.access == "admin")
    call.opened.append(watching.start(call.client))
    return {**watching.rows(), "seq": 0}


class _Watch:
    """Numbers the changes of all rows; a number that a reader did not see was missed, and a snapshot follows."""

    def __init__(self, pool: Sessions, *, admin: bool) -> None:
        self._pool = pool
        self._view: Callable[[Row], Row] = (lambda row: row) if admin else for_readers
        self._seq = 0
        self._leave: Callable[[], None] | None = None
        self._stream: Stream | None = None

    def start(self, client: ClientConnection) -> Stream:
        self._stream = client.stream("watch", "sessions.event", self._snapshot, self._stop)
        self._leave = self._pool.subscribe(self._changed)
        return self._stream

    def rows(self) -> dict[str, Any]:
        return {"sessions": list(map(self._view, self._pool.rows())), "max_sessions": self._pool.max_sessions}

    def _changed(self, change: str, row: Row) -> None:
        if self._stream is not None:
            self._stream.send(self._numbered({"event": change, "session": self._view(row)}))

    def _snapshot(self) -> list[Event]:
        return [self._numbered({"event": "snapshot", **self.rows()})]

    def _numbered(self, event: Event) -> Event:
        self._seq += 1
        return {"seq": self._seq, **event}

    def _stop(self) -> None:
        if self._leave is not None:
            self._leave()


async def tail(call: Call, params: SessionsTail) -> dict[str, Any]:
    """Recent output, then each new piece; of a thread without a session what is kept."""
    pool = call.services.pool
    tailing = _Tail(pool, pool.resolve(params.thread), admin=call.client.access == "admin")
    recent = await tailing.recent()
    call.opened.append(tailing.start(call.client))
    if since := utc_time(call.method, params.since):
        recent = [line for line in recent if line["at"] >= since]
    kept = len(recent) if params.lines is None else min(params.lines, len(recent))
    return {"lines": recent[len(recent) - kept :]}


class _Tail:
    """The output of a thread's session, and of those that take its place; ``admin``: all kinds of it."""

    def __init__(self, pool: Sessions, thread: str, *, admin: bool) -> None:
        self._pool = pool
        self._thread = thread
        self._hidden: frozenset[str] = frozenset() if admin else FOR_ADMINS
        self._seen: set[str] = {row.session_id for row in pool.rows() if row.thread_id == thread and row.session_id}
        self._missed: deque[Event] = deque(maxlen=KEPT_OUTPUTS)
        self._dropped = 0
        self._stream: Stream | None = None
        self._leave_output: Callable[[], None] | None = None
        self._leave_pool: Callable[[], None] | None = None

    async def recent(self) -> list[Event]:
        """The recent output, which is followed from now on where the thread has a session."""
        try:
            recent = self._follow()
        except NotFound:
            recent = await self._pool.kept.read(self._thread)
        return [output for output in recent if output["kind"] not in self._hidden]

    def _follow(self) -> list[Event]:
        """Forward the output of the thread's session from now on; returns its recent output. Raises NotFound."""
        recent, leave = self._pool.tail(self._thread, self._output)
        if self._leave_output is not None:
            self._leave_output()
        self._leave_output = leave
        return recent

    def start(self, client: ClientConnection) -> Stream:
        self._leave_pool = self._pool.subscribe(self._changed)
        try:
            self._stream = client.stream(
                f"tail {self._thread}", "sessions.output", self._snapshot, self._stop, self._miss
            )
        except BaseException:
            self._stop()
            raise
        return self._stream

    def _output(self, output: Event) -> None:
        if self._stream is not None and output["kind"] not in self._hidden:
            self._stream.send(output)

    def _changed(self, change: str, row: Row) -> None:
        if row.thread_id != self._thread or row.session_id is None or change == "gone":
            return
        if row.session_id not in self._seen:
            # The thread has another session: follow that one. One without output yet will change again.
            with contextlib.suppress(NotFound):
                recent = self._follow()
                self._seen.add(row.session_id)
                for output in recent:
                    if output["session_id"] == row.session_id:  # the lines of the session before were sent
                        self._output(output)

    def _miss(self, output: Event) -> None:
        if len(self._missed) == KEPT_OUTPUTS:
            self._dropped += 1
        self._missed.append(output)

    def _snapshot(self) -> list[Event]:
        """The missed output, as far as it is kept."""
        missed, dropped = list(self._missed), self._dropped
        self._missed.clear()
        self._dropped = 0
        if not dropped:
            return missed
        text = f"{dropped} lines before this one are left out: they came faster than they were read."
        return [self._notice(text, missed[0]["session_id"]), *missed]

    def _notice(self, text: str, session_id: str) -> Event:
        at = rfc3339()
        return {"thread": self._thread, "session_id": session_id, "kind": "notice", "text": text, "at": at}

    def _stop(self) -> None:
        for leave in (self._leave_output, self._leave_pool):
            if leave is not None:
                leave()


METHODS: Final = {
    "sessions.watch": Method("read", NoParams, watch),
    "sessions.tail": Method("read", SessionsTail, tail),
}
