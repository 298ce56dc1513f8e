"""What the rest of the house sees of a session: immutable snapshots, never the session itself.

The field names are the management wire's (docs/protocol.md); a snapshot is encoded as it stands.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from acpbot.sessions.terminate import Step  # noqa: TC001 - msgspec resolves the annotation when it runs

State = Literal["starting", "idle", "busy", "waiting", "stuck", "suspended", "closing", "gone"]
Outcome = Literal["ended", "already_gone", "conflict", "failed"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One session, at one moment. Every key is always there; unknown is ``None``.

    Durations are seconds, ``created_at`` is RFC 3339 UTC. ``turn_seconds`` and ``silent_seconds`` are
    ``None`` outside a turn; ``idle_seconds`` is 0 in a turn and restarts when one ends; ``queued`` leaves out the
    running turn; ``turns`` counts finished ones; ``activity`` is the running tool's title.
    """

    thread_id: str
    session_id: str | None
    platform: str
    agent: str
    state: State
    alive: bool
    cwd: str
    title: str | None
    owner: str | None
    created_at: str
    idle_seconds: float | None
    turn_seconds: float | None
    silent_seconds: float | None
    activity: str | None
    waiting_for: str | None
    queued: int
    turns: int
    pid: int | None
    processes: int | None
    rss_bytes: int | None
    cpu_seconds: float | None
    acp_session_id: str | None
    resumable: bool


class ToolCallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call of the running turn that has not ended; ``seconds`` since it was first seen."""

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
    """A row and what only ``sessions.get`` tells: recent stderr, open tool calls, the process tree."""

    stderr: list[str]
    tool_calls: list[ToolCallRow]
    process_tree: list[ProcessRow]


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One explicit session to end: the generation that somebody was shown, never 'whatever runs there'."""

    thread_id: str
    session_id: str


class KillResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one target ended.

    ``reached`` is the last rung of the ladder that was needed (``None`` where nothing was touched),
    ``processes_left`` what a look at the system found afterwards: the promise is 0.
    """

    thread_id: str
    session_id: str
    outcome: Outcome
    reached: Step | None
    processes_ended: int
    processes_left: int
    seconds: float
    resumable: bool


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
