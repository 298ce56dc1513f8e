"""What other packages see of a session: immutable snapshots, never the session itself.

The field names are those of the management protocol (docs/protocol.md); a snapshot is encoded as it is.
"""

from __future__ import annotations

from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from acpbot.runtimes.runtime import LimitNotHeld  # noqa: TC001 - msgspec resolves the annotation when it runs
from acpbot.sessions.terminate import Proof, Step  # noqa: TC001 - msgspec resolves the annotation when it runs
from acpbot.storage.records import ThreadRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.runtimes.runtime import ProcessInfo

Reason = Literal["killed", "crashed", "start_failed", "evicted", "expired", "stuck", "stopped", "replaced"]
"""Why a session ended."""
SessionState = Literal["starting", "idle", "busy", "waiting", "stuck", "suspended", "closing", "gone"]
Outcome = Literal["ended", "already_gone", "conflict", "failed"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One session, at one moment; the defaults are those of a thread without a session.

    Every key is always there; unknown is ``None``.

    Durations are seconds, ``created_at`` is RFC 3339 UTC. ``turn_seconds`` and ``silent_seconds`` are
    ``None`` outside a turn; ``idle_seconds`` is 0 in a turn and restarts when one ends; ``queued`` leaves out the
    running turn; ``turns`` counts finished ones; ``activity`` is the running tool's title.
    """

    thread_id: str
    session_id: str | None = None
    platform: str
    agent: str
    state: SessionState = "suspended"
    alive: bool = False
    cwd: str
    title: str | None
    owner: str | None
    created_at: str
    idle_seconds: float | None = None
    turn_seconds: float | None = None
    silent_seconds: float | None = None
    activity: str | None = None
    waiting_for: str | None = None
    queued: int = 0
    turns: int
    pid: int | None = None
    processes: int | None = None
    rss_bytes: int | None = None
    cpu_seconds: float | None = None
    acp_session_id: str | None
    resumable: bool


class ToolCallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call of the running turn that has not ended; ``seconds`` since its first update."""

    tool_call_id: str
    title: str
    kind: str | None
    status: str | None
    seconds: float


class ProcessRow(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a session's tree, in depth-first order; ``depth`` 0 is the leader or an adopted orphan."""

    pid: int
    ppid: int
    depth: int
    command: str
    state: str
    rss_bytes: int
    cpu_seconds: float
    age_seconds: float


class Detail(Row, frozen=True, kw_only=True):
    """A row and what only ``sessions.get`` has: recent stderr, open tool calls, the process tree, limits not held."""

    stderr: list[str] = []
    tool_calls: list[ToolCallRow] = []
    process_tree: list[ProcessRow] = []
    limits_not_held: tuple[LimitNotHeld, ...] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One explicit session to end: the one that somebody saw, never 'whatever runs there now'."""

    thread_id: str
    session_id: str


class KillResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one target ended.

    ``reached`` is the last step that was needed (``None`` where nothing was touched), ``processes_left`` how many a
    look found afterwards: the promise is 0. It is ``None`` where nobody could look; ``proof`` says who has.
    """

    thread_id: str
    session_id: str
    outcome: Outcome
    reached: Step | None = None
    processes_ended: int = 0
    processes_left: int | None = 0
    proof: Proof = "system"
    seconds: float = 0.0
    resumable: bool = False


class PoolCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions are in which state, for health."""

    sessions: int
    max: int
    starting: int
    idle: int
    busy: int
    waiting: int
    stuck: int
    suspended: int
    queued: int


_OF_THREAD: Final = tuple(name for name in Row.__struct_fields__ if name in ThreadRecord.__struct_fields__)
_values_of_thread: Final = attrgetter(*_OF_THREAD)


def row_of(thread: ThreadRecord, **members: Any) -> Row:
    """The row of a thread; ``members`` are those of its session, where it has one.

    What a thread record and a row have in common has the same names. A list of all sessions is made of hundreds of
    rows; `msgspec.convert` would take three times as long.
    """
    return Row(**dict(zip(_OF_THREAD, _values_of_thread(thread), strict=True)), **members)


def process_rows(found: Sequence[ProcessInfo]) -> list[ProcessRow]:
    """The processes depth first, children below their parents; one whose parent is not among them has depth 0."""
    pids = set(map(attrgetter("pid"), found))
    children: dict[int, list[ProcessInfo]] = {}
    for info in sorted(found, key=attrgetter("start_time"), reverse=True):
        children.setdefault(info.ppid if info.ppid in pids else 0, []).append(info)
    rows: list[ProcessRow] = []
    stack = list(zip(children.get(0, ()), repeat(0)))
    while stack:
        info, depth = stack.pop()
        rows.append(
            ProcessRow(
                pid=info.pid,
                ppid=info.ppid,
                depth=depth,
                command=info.command,
                state=info.state,
                rss_bytes=info.rss_bytes,
                cpu_seconds=round(info.cpu_seconds, 2),
                age_seconds=round(info.age_seconds, 1),
            )
        )
        stack.extend(zip(children.get(info.pid, ()), repeat(depth + 1)))
    return rows
