"""A pool and a chat hub in memory: what the management methods need of the real ones, and no more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from acpbot.acp.usage import Cost
from acpbot.chat.earlier_conversations import KnownConversation, KnownConversations
from acpbot.chat.platform import ChatFacts
from acpbot.config.security import Finding
from acpbot.daemon import health
from acpbot.daemon.reload import Reloaded
from acpbot.errors import Ambiguous, Conflict, InvalidParams, NotFound
from acpbot.runtimes.runtime import LimitNotHeld
from acpbot.sessions.options import NotSet
from acpbot.sessions.turn import OPERATOR
from acpbot.sessions.views import (
    ChoiceRow,
    Detail,
    FieldRow,
    KillResult,
    PermissionOptionRow,
    PermissionRow,
    PoolCounts,
    ProcessRow,
    QuestionRow,
    Row,
    ToolCallRow,
)
from acpbot.sessions.watcher import Watcher
from acpbot.storage.records import LastEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acpbot.management.readiness import DaemonState
    from acpbot.sessions.views import Target

Event = dict[str, Any]


def make_row(thread: str = "1417221234567890123", **changes: Any) -> Row:
    """A busy session, every key filled."""
    members: dict[str, Any] = {
        "thread_id": thread,
        "session_id": f"s-{thread[-4:]}",
        "platform": "local",
        "agent": "default",
        "runtime": "local",
        "place": None,
        "state": "busy",
        "alive": True,
        "cwd": f"/srv/work/{thread}",
        "title": "Fix the parser",
        "owner": "rosa",
        "created_at": "2026-11-24T08:00:00.000Z",
        "idle_seconds": 0.0,
        "turn_seconds": 12.5,
        "silent_seconds": 1.5,
        "activity": "pytest -q",
        "waiting_for": None,
        "queued": 1,
        "turns": 3,
        "mode": "ask",
        "model": "opus",
        "context_used": 34_000,
        "context_size": 200_000,
        "cost": Cost(0.25, "USD"),
        "pid": 4242,
        "processes": 3,
        "rss_bytes": 73_400_320,
        "cpu_seconds": 9.1,
        "acp_session_id": "sess-1",
        "resumable": True,
        "last_end": LastEnd("2026-11-24T07:58:00.000Z", "crashed", 3, "out of memory"),
    }
    return Row(**members | changes)


def make_permission() -> PermissionRow:
    """An open permission request, every key filled."""
    return PermissionRow(
        request="s-0123-1",
        title="Run the tests",
        question="Run this command?",
        options=[PermissionOptionRow(option_id="allow", name="Allow", kind="allow_once")],
        withheld="it is larger than 1 MiB",
        expires_at="2026-11-24T08:05:00.000Z",
        action="command: pytest -q",
        raw_input={"command": "pytest -q", "timeout": 5000},
    )


def make_question() -> QuestionRow:
    """An open question, every key filled."""
    field = FieldRow(
        name="color",
        label="Color",
        kind="choice",
        description="Of the button",
        hint="one of them",
        required=True,
        choices=[ChoiceRow(value="r", label="Red", description="As a rose")],
        default="r",
    )
    return QuestionRow(
        request="q1",
        message="Which color?",
        mode="form",
        fields=[field],
        url="https://example.com/",
        host="example.com",
        unusable="its form is too large",
        expires_at="2026-11-24T08:05:00.000Z",
    )


class FakePool:
    """Rows that a test sets; ``kills`` and ``cancels`` are what was asked for. ``free`` lets kills end."""

    max_sessions = 10

    def __init__(self, *rows: Row) -> None:
        self.by_thread = {row.thread_id: row for row in rows}
        self.subscribers: list[Callable[[str, Row], None]] = []
        self.followers: dict[str, list[Callable[[Event], None]]] = {}
        self.outputs: dict[str, list[Event]] = {}
        self.ended: dict[str, list[Event]] = {}
        self.kills: list[tuple[list[Target], float | None, bool]] = []
        self.cancels: list[tuple[str, str | None]] = []
        self.answers: list[tuple[str, dict[str, Any] | None]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.killing = asyncio.Event()
        self.broken: Exception | None = None

    # What the wire calls.

    def rows(self, *, suspended: bool = False) -> list[Row]:
        if self.broken is not None:
            raise self.broken
        return [row for row in self.by_thread.values() if suspended or row.state != "suspended"]

    @property
    def suspended(self) -> int:
        return sum(row.state == "suspended" for row in self.by_thread.values())

    def resolve(self, thread: str) -> str:
        if thread in self.by_thread:
            return thread
        fits = [key for key in self.by_thread if len(thread) >= 4 and key.endswith(thread)]
        if not fits:
            raise NotFound(f"cannot find a session for thread {thread[:80]!r}")
        if len(fits) > 1:
            raise Ambiguous(f"cannot tell which thread {thread[:80]!r} is")
        return fits[0]

    async def detail(self, thread_id: str) -> Detail:
        tool = ToolCallRow(tool_call_id="call-7", title="pytest -q", kind="execute", status="in_progress", seconds=3.5)
        process = ProcessRow(
            pid=4242,
            ppid=4200,
            depth=0,
            command="codex-acp",
            state="S",
            rss_bytes=73_400_320,
            cpu_seconds=9.1,
            age_seconds=61.2,
        )
        return Detail(
            **msgspec.structs.asdict(self.by_thread[thread_id]),
            stderr=["warming up"],
            tool_calls=[tool],
            process_tree=[process],
            limits_not_held=(LimitNotHeld("memory_max", "agents run without a cgroup here"),),
            options_not_set=(NotSet("effort", "high", "it has no effort 'high', it offers nothing"),),
            permission=make_permission() if self.by_thread[thread_id].state == "waiting" else None,
            question=make_question() if self.by_thread[thread_id].state == "waiting" else None,
        )

    watcher = Watcher()

    @property
    def strays(self) -> int:
        return 0

    async def kill(
        self, targets: Sequence[Target], *, grace_seconds: float | None = None, forget: bool = False
    ) -> list[KillResult]:
        self.kills.append((list(targets), grace_seconds, forget))
        self.killing.set()
        await self.free.wait()
        return [self._kill(target, forget=forget) for target in targets]

    def _kill(self, target: Target, *, forget: bool) -> KillResult:
        row = self.by_thread.get(target.thread_id)
        ended = row is not None and row.session_id == target.session_id
        return KillResult(
            thread_id=target.thread_id,
            session_id=target.session_id,
            outcome="ended" if ended else "already_gone" if row is None else "conflict",
            reached="sigterm" if ended else None,
            processes_ended=3 if ended else 0,
            processes_left=0,
            seconds=0.087,
            resumable=ended and not forget,
        )

    async def cancel(self, thread_id: str, session_id: str | None = None, *, by: str | None = None) -> str:
        assert by == OPERATOR
        self.cancels.append((thread_id, session_id))
        row = self.by_thread[thread_id]
        if session_id is not None and session_id != row.session_id:
            raise Conflict(f"cannot cancel: the session of {thread_id} is another one now")
        return "cancelled" if row.state == "busy" else "idle"

    def get(self, thread_id: str) -> Any:
        return self if self.by_thread[thread_id].session_id is not None else None

    @property
    def questions(self) -> FakePool:
        return self

    def answer(self, request: str, action: str, content: dict[str, Any] | None) -> None:
        if request != "q1":
            raise NotFound(f"cannot find the question {request[:40]!r}")
        self.answers.append((action, content))

    def subscribe(self, callback: Callable[[str, Row], None]) -> Callable[[], None]:
        self.subscribers.append(callback)
        return lambda: self.subscribers.remove(callback)

    def tail(self, thread_id: str, callback: Callable[[Event], None]) -> tuple[list[Event], Callable[[], None]]:
        row = self.by_thread[thread_id]
        if row.session_id is None:
            raise NotFound(f"cannot tail {thread_id}: no agent runs for it now")
        followers = self.followers.setdefault(row.session_id, [])
        followers.append(callback)
        return list(self.outputs.get(row.session_id, [])), lambda: followers.remove(callback)

    @property
    def kept(self) -> FakePool:
        return self

    async def read(self, thread_id: str) -> list[Event]:
        return self.ended.get(thread_id, [])

    # What a test calls.

    def change(self, row: Row, change: str = "changed") -> None:
        if change == "gone":
            self.by_thread.pop(row.thread_id, None)
        else:
            self.by_thread[row.thread_id] = row
        for subscriber in tuple(self.subscribers):
            subscriber(change, row)

    def say(self, thread: str, text: str, kind: str = "text") -> Event:
        session = self.by_thread[thread].session_id
        assert session is not None
        at = "2026-11-24T08:00:01.000Z"
        output = {"thread": thread, "session_id": session, "kind": kind, "text": text, "at": at}
        self.outputs.setdefault(session, []).append(output)
        for follower in tuple(self.followers.get(session, [])):
            follower(output)
        return output

    def following(self) -> int:
        """How many callbacks are still held."""
        return len(self.subscribers) + sum(map(len, self.followers.values()))


class FakeHub:
    """Threads whose events a test emits; ``sent`` and ``permitted`` are what came in."""

    def __init__(self) -> None:
        self.listeners: dict[str, list[Callable[[Event], None]]] = {}
        self.opened: list[tuple[str, str | None, str]] = []
        self.sent: list[tuple[str, str, str]] = []
        self.sent_now: list[str] = []
        self.permitted: list[tuple[str, str, str]] = []
        self.resumed: str | None = None
        self.commands: list[tuple[str, str, str | None]] = []
        self.opening = asyncio.Event()
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.refuse: Exception | None = None

    async def open(
        self, thread: str, agent: str | None, owner: str, emit: Callable[[Event], None], *, resume: str | None = None
    ) -> Row:
        self.resumed = resume
        self.opening.set()
        await self.may_open.wait()
        if self.refuse is not None:
            raise self.refuse
        self.opened.append((thread, agent, owner))
        listeners = self.listeners.setdefault(thread, [])
        if emit not in listeners:
            listeners.append(emit)
        return make_row(thread, state="starting")

    async def send(self, thread: str, text: str, owner: str, *, now: bool = False) -> int:
        self.sent.append((thread, text, owner))
        self.sent_now += [text] if now else []
        return len(self.sent) - 1

    def permit(self, thread: str, request: str, option: str, user: str) -> None:
        if request != "p1":
            raise NotFound(f"cannot find the request {request[:40]!r}")
        if option != "allow":
            raise InvalidParams(f"cannot select {option[:40]!r}")
        assert user
        self.permitted.append((thread, request, option))

    async def command(self, thread: str, name: str, value: str | None, user: str) -> str:
        assert user
        self.commands.append((thread, name, value))
        return f"The {name} is now {value}."

    async def conversations(self, thread: str) -> KnownConversations:
        known = KnownConversation(
            acp_session_id="sess-7", title="Fix the parser", updated_at="2026-11-23T08:00:00Z", thread_id=None
        )
        return KnownConversations(agent="default", cwd=f"/srv/work/{thread}", conversations=[known], more=False)

    async def recent(self, thread: str, count: int) -> list[Event]:
        at = "2026-11-24T08:00:00.000Z"
        line = {"thread": thread, "session_id": "s-demo", "kind": "text", "text": "All tests pass.", "at": at}
        return [line][:count]

    def leave(self, thread: str, emit: Callable[[Event], None]) -> None:
        listeners = self.listeners.get(thread, [])
        if emit in listeners:
            listeners.remove(emit)

    def snapshot(self, thread: str) -> list[Event]:
        return [{"thread": thread, "type": "text", "text": "a snapshot"}]

    # What a test calls.

    def emit(self, thread: str, **event: Any) -> None:
        for emit in tuple(self.listeners.get(thread, [])):
            emit({"thread": thread, **event})


class FakeFollower:
    """What :meth:`FakeOperator.follow` returns; ``emit`` sends an event of the prompt's turn."""

    def __init__(self, emit: Callable[[Event], None], text: str) -> None:
        self.emit = emit
        self.text = text

    def snapshot(self) -> list[Event]:
        return [{"thread": "", "type": "text", "text": "a snapshot"}]


class FakeOperator:
    """Notes what it is asked for. ``refuse``: raised by every call that changes something."""

    def __init__(self, pool: FakePool) -> None:
        self.pool = pool
        self.done: list[tuple[Any, ...]] = []
        self.followers: list[FakeFollower] = []
        self.refuse: Exception | None = None

    def _do(self, *what: Any) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.done.append(what)

    def find(self, thread: str) -> str:
        return self.pool.resolve(thread)

    def follow(self, emit: Callable[[Event], None], text: str) -> FakeFollower:
        self.followers.append(FakeFollower(emit, text))
        return self.followers[-1]

    def send(self, thread: str, text: str, user: str, *, agent: str | None, follower: Any, now: bool = False) -> int:
        assert user
        assert follower is self.followers[-1]
        self._do("send now" if now else "send", thread, text, agent)
        return len(self.done) - 1

    async def begin(self, channel: str, text: str, user: str, *, agent: str | None, follower: Any) -> tuple[str, int]:
        assert user
        assert follower is self.followers[-1]
        self._do("begin", channel, text, agent)
        return "1417221234567890777", 0

    def permit(self, thread: str, request: str, option: str, user: str) -> None:
        assert user
        self._do("permit", thread, request, option)

    async def suspend(self, thread: str, session_id: str) -> str:
        self._do("suspend", thread, session_id)
        return "ended"

    async def restart(self, thread: str, session_id: str) -> tuple[str, str | None]:
        self._do("restart", thread, session_id)
        return "ended", "s-0124"

    def session_of(self, _thread: str) -> str | None:
        return None

    def forget(self, thread: str) -> None:
        self._do("forget", thread)


class FakeDrain:
    def __init__(self) -> None:
        self.asked: list[tuple[bool, float | None]] = []

    def drain(self, *, on: bool, deadline_seconds: float | None) -> DaemonState:
        self.asked.append((on, deadline_seconds))
        return "draining" if on else "running"


class FakeReload:
    """``answer``: what a reload returns, or raises."""

    def __init__(self) -> None:
        self.answer: Reloaded | Exception = Reloaded(["[pool] max_sessions"], ["[log] format"])

    async def now(self) -> Reloaded:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def make_health_inputs(**changes: Any) -> health.HealthInputs:
    """A healthy daemon on Discord."""
    members: dict[str, Any] = {
        "state": "running",
        "version": "0.1.0",
        "uptime_seconds": 3605.2,
        "chat": ChatFacts(
            platform="discord",
            connected=True,
            since="2026-11-24T08:00:00.000Z",
            latency_ms=41.2,
            heartbeat_ack_seconds=12.0,
        ),
        "pool": PoolCounts(sessions=1, max=10, starting=0, idle=0, busy=1, waiting=0, stuck=0, suspended=0, queued=1),
        "loop_lag_ms": 0.4,
        "rss_bytes": 73_400_320,
        "security": (
            Finding(
                name="root",
                level="warning",
                detail="acpbot runs as root, and so does everything that an agent runs",
                advice="run it as a user of its own; `acpbot install-service` makes one",
            ),
        ),
    }
    return health.HealthInputs(**members | changes)
