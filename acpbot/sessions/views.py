"""What other packages see of a session: immutable snapshots, never the session itself.

The field names are those of the management protocol (docs/protocol.md); a snapshot is encoded as it is.
"""

from __future__ import annotations

from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from acpbot.acp import form_values
from acpbot.acp.usage import Cost  # noqa: TC001 - msgspec resolves the annotation when it runs
from acpbot.runtimes.runtime import LimitNotHeld, Proof  # noqa: TC001 - msgspec resolves the annotation when it runs
from acpbot.sessions.options import NotSet  # noqa: TC001 - msgspec resolves the annotation when it runs
from acpbot.sessions.terminate import Step  # noqa: TC001 - msgspec resolves the annotation when it runs
from acpbot.storage.records import LastEnd  # noqa: TC001 - msgspec resolves the annotation when it runs
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.acp.elicitation import Field
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.runtime import ProcessInfo
    from acpbot.sessions.questions import Question
    from acpbot.sessions.turn import PermissionRequest

Reason = Literal["killed", "suspended", "crashed", "start_failed", "evicted", "expired", "stuck", "stopped", "replaced"]
"""Why a session ended."""
SessionState = Literal["starting", "idle", "busy", "waiting", "stuck", "suspended", "closing", "gone", "warm"]
Outcome = Literal["ended", "already_gone", "conflict", "failed"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One session, at one moment; the defaults are those of a thread without a session.

    Every key is always there; unknown is ``None``.

    Durations are seconds, ``created_at`` is RFC 3339 UTC. ``turn_seconds`` and ``silent_seconds`` are ``None`` outside
    a turn; ``idle_seconds`` is 0 in a turn and restarts when one ends; ``queued`` leaves out the running turn;
    ``turns`` counts finished ones; ``activity`` is the running tool's title, or what a start does now, ``waiting_for``
    what a permission is wanted for, or what the agent asks, on one line; ``mode`` and ``model`` are the agent's ids of
    those in force. ``runtime`` is the kind of the agent's place, ``place`` says where in words that its engine
    understands, ``None`` for this machine; ``alive``: whether the agent runs, ``None`` while nobody can tell.
    ``context_used`` and ``context_size`` are tokens; ``cost`` is what the agent says that it has cost in this thread,
    in all its sessions. ``last_end``: how the thread's session before ended, ``None`` where there was none.
    """

    thread_id: str
    session_id: str | None = None
    platform: str
    agent: str
    runtime: str
    place: str | None = None
    state: SessionState = "suspended"
    alive: bool | None = False
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
    mode: str | None = None
    model: str | None = None
    context_used: int | None = None
    context_size: int | None = None
    cost: Cost | None = None
    pid: int | None = None
    processes: int | None = None
    rss_bytes: int | None = None
    cpu_seconds: float | None = None
    acp_session_id: str | None
    resumable: bool
    last_end: LastEnd | None = None


RowOf = TypeVar("RowOf", bound=Row)


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
    rss_bytes: int | None
    cpu_seconds: float | None
    age_seconds: float | None


class PermissionOptionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to a permission request; ``kind`` as in ACP."""

    option_id: str
    name: str
    kind: str


class PermissionRow(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest open permission request.

    ``title`` is the agent's own, ``question`` and ``action`` are what is shown to people; ``withheld``: why it can't be
    allowed, ``None`` where it can. ``action`` and ``raw_input`` are ``None`` for those who may only read.
    """

    request: str
    title: str
    question: str
    options: list[PermissionOptionRow]
    withheld: str | None = None
    expires_at: str
    action: str | None = None
    raw_input: Any = None


class ChoiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One value that a field may have, and what people read."""

    value: str
    label: str
    description: str


class FieldRow(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a question's form; ``hint``: what it takes, in words, ``None`` where it takes anything.

    ``kind``: ``text``, ``number``, ``integer``, ``boolean``, ``choice``, ``choices``.
    """

    name: str
    label: str
    kind: str
    description: str
    hint: str | None
    required: bool
    choices: list[ChoiceRow]
    default: Any


class QuestionRow(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest open question of the agent.

    ``mode``: ``form``, ``url`` or ``other``. ``url`` and ``host`` are ``None`` but in mode ``url``. ``unusable``: why
    it can't be accepted, ``None`` where it can. Those who may only read get neither message, fields nor address.
    """

    request: str
    message: str
    mode: str
    fields: list[FieldRow]
    url: str | None = None
    host: str | None = None
    unusable: str | None = None
    expires_at: str


class Detail(Row, frozen=True, kw_only=True):
    """A row and what only ``sessions.get`` has.

    Recent stderr, open tool calls, the process tree, the limits and options of the configuration that do not hold, and
    the permission request and the question that wait, the oldest of several.
    """

    stderr: list[str] = []
    tool_calls: list[ToolCallRow] = []
    process_tree: list[ProcessRow] = []
    limits_not_held: tuple[LimitNotHeld, ...] = ()
    options_not_set: tuple[NotSet, ...] = ()
    permission: PermissionRow | None = None
    question: QuestionRow | None = None


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
    """How many sessions are in which state, for health; ``in_line``: threads that wait for an agent to be free.

    ``warm``: processes that wait for a thread; they are none of the ``sessions``.
    """

    sessions: int
    max: int
    starting: int
    idle: int
    busy: int
    waiting: int
    stuck: int
    suspended: int
    queued: int
    in_line: int = 0
    warm: int = 0


class OutdatedSessions(NamedTuple):
    """Sessions, named by their threads, that still use earlier values of these keys of their agent's settings."""

    agent: str
    keys: tuple[str, ...]
    threads: tuple[str, ...]


# Used while an agent starts, and never again.
_OF_A_START: Final = frozenset({"name", "start_timeout_seconds", "warm"})


def changed_keys(used: AgentSettings, now: AgentSettings | None) -> tuple[str, ...]:
    """The keys of an agent whose values ``now`` differ from those that a session uses; none where it is removed."""
    if now is None or used == now:
        return ()
    keys = (key for key in used.__struct_fields__ if key not in _OF_A_START)
    return tuple(key for key in keys if getattr(used, key) != getattr(now, key))


def permission_row(ask: PermissionRequest) -> PermissionRow:
    """An open permission request, whole."""
    return PermissionRow(
        request=ask.request,
        title=ask.title,
        question=ask.action.question,
        options=option_rows(ask),
        withheld=ask.withheld,
        expires_at=rfc3339(ask.expires_at),
        action=ask.action.text(),
        raw_input=ask.action.raw_input,
    )


def option_rows(ask: PermissionRequest) -> list[PermissionOptionRow]:
    """The answers that a person may choose."""
    return [PermissionOptionRow(option_id=one.option_id, name=one.name, kind=one.kind) for one in ask.options]


def question_row(question: Question) -> QuestionRow:
    """An open question, whole."""
    form = question.form
    return QuestionRow(
        request=question.request,
        message=form.message,
        mode=form.mode,
        fields=[_field_row(field) for field in form.fields],
        url=form.url or None,
        host=form.host or None,
        unusable=form.unusable,
        expires_at=rfc3339(question.expires_at),
    )


def _field_row(field: Field) -> FieldRow:
    return FieldRow(
        name=field.name,
        label=field.label,
        kind=field.kind,
        description=field.description,
        hint=form_values.hint(field) or None,
        required=field.required,
        choices=[
            ChoiceRow(value=choice.value, label=choice.label, description=choice.description)
            for choice in field.choices
        ],
        default=field.default,
    )


def for_readers(row: RowOf) -> RowOf:
    """The row, or the detail, without what only admins may see: what is asked, but a permission's title."""
    if row.waiting_for is None:
        return row
    shown = msgspec.structs.replace(row, waiting_for=row.activity or "an answer")
    if not isinstance(shown, Detail):
        return shown
    permission, question = shown.permission, shown.question
    if permission is not None:
        permission = msgspec.structs.replace(permission, action=None, raw_input=None)
    if question is not None:
        question = msgspec.structs.replace(question, message="", fields=[], url=None, host=None)
    return msgspec.structs.replace(shown, permission=permission, question=question)


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
                cpu_seconds=_rounded(info.cpu_seconds, 2),
                age_seconds=_rounded(info.age_seconds, 1),
            )
        )
        stack.extend(zip(children.get(info.pid, ()), repeat(depth + 1)))
    return rows


def tree_members(tree: Sequence[ProcessRow]) -> dict[str, Any]:
    """What these processes use together, as members of a row; a figure that is unknown of one of them is left out."""
    if not tree:
        return {}
    found: dict[str, Any] = {"processes": len(tree)}
    for name, digits in (("rss_bytes", 0), ("cpu_seconds", 2)):
        figures = [getattr(row, name) for row in tree]
        if None not in figures:
            found[name] = round(sum(figures), digits) if digits else sum(figures)
    return found


def _rounded(figure: float | None, digits: int) -> float | None:
    """The figure with so many digits; ``None`` where it is unknown."""
    return None if figure is None else round(figure, digits)
