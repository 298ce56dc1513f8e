"""All sessions: capacity, eviction, expiry, kill. Nothing here waits on a running turn."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from acpbot.errors import Conflict, Draining, InvalidParams, NotFound, TooMany
from acpbot.logs import get_logger
from acpbot.sessions.journal import PoolJournal, remove_workspace
from acpbot.sessions.observer import Limits
from acpbot.sessions.registry import SessionRegistry
from acpbot.sessions.session import Session
from acpbot.sessions.thread import Thread, title_from
from acpbot.sessions.turn import DEFERRED, TurnEnd
from acpbot.sessions.views import KillResult, Row, Target
from acpbot.sessions.watchdog import Verdict, review
from acpbot.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from acpbot.runtimes.runtime import Launcher
    from acpbot.sessions.launch import Profile
    from acpbot.sessions.observer import Reason
    from acpbot.sessions.terminate import TerminationResult
    from acpbot.sessions.thread import Workspace
    from acpbot.sessions.turn import Turn
    from acpbot.sessions.watchdog import OnStuck

log = get_logger(__name__)

_DRAINING: Final = "cannot start a turn: acpbot is about to stop or restart; try again in a moment"
_LATE_SECONDS: Final = 0.25

Change = Literal["changed", "gone"]


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What all sessions together are held to; durations in seconds."""

    max_sessions: int = 10
    idle_seconds: float = 1800.0
    ttl_seconds: float = 86_400.0
    remove_workspace: bool = False
    turn_timeout_seconds: float = 3600.0
    on_stuck: OnStuck = "notify"
    session: Limits = Limits()


class AgentChoice(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that threads may use: how it is started, and its own working directory where it has one."""

    profile: Profile
    working_dir: Path | None = None


class ThreadListener(Protocol):
    """What the pool tells of a thread to the platform that it lives on. The calls may not block."""

    def session_changed(self, thread_id: str) -> None:
        """The thread's row has changed."""

    def session_ended(self, thread_id: str, reason: Reason, detail: str | None, *, resumable: bool) -> None:
        """The thread's session is gone; the next message picks it up again (``resumable``) or starts a new one."""

    def session_afresh(self, thread_id: str) -> None:
        """The thread's conversation could not be picked up again; the agent knows nothing of it."""

    def session_stuck(self, thread_id: str, activity: str | None, seconds: float) -> None:
        """The agent has been silent too long; ``activity`` is the tool that it waits for."""


class Pool(SessionRegistry):
    """The sessions of a daemon. All methods belong to the event loop's thread.

    ``draining``: no new turns are taken, those that were go on. ``stopping``: every session ends, none is started.
    """

    def __init__(
        self,
        *,
        agents: Mapping[str, AgentChoice],
        default_agent: str,
        launcher: Launcher,
        workspace: Workspace,
        limits: PoolLimits,
        store: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.store = store or Store()
        self._memory = PoolJournal(self.store, wall)
        super().__init__(self._memory.threads())
        self._agents = agents
        self._removed: dict[str, AgentChoice] = {}
        self._default_agent = default_agent
        self._launcher = launcher
        self._workspace = workspace
        self._limits = limits
        self._clock = clock
        self._chats: dict[str, ThreadListener] = {}
        self._subscribers: list[Callable[[Change, Row], None]] = []
        self._stuck_told: set[str] = set()
        self._removals: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self.draining = self.stopping = False

    @property
    def max_sessions(self) -> int:
        """How many sessions may have a process at once."""
        return self._limits.max_sessions

    @property
    def agents(self) -> Mapping[str, AgentChoice]:
        """The agents that threads may use, by name."""
        return self._agents

    def reconfigure(self, *, agents: Mapping[str, AgentChoice], default_agent: str, limits: PoolLimits) -> None:
        """Hold to other settings from now on; a session that runs keeps its agent and its own limits.

        An agent that is gone from ``agents`` can't be chosen any more; threads that have it keep it.
        """
        known, used = self._removed | dict(self._agents), {thread.agent for thread in self._threads.values()}
        self._removed = {name: choice for name, choice in known.items() if name in used and name not in agents}
        self._agents, self._default_agent, self._limits = agents, default_agent, limits

    def attach(self, platform: str, chat: ThreadListener) -> None:
        """Tell ``chat`` of the sessions of its platform from now on."""
        self._chats[platform] = chat

    def subscribe(self, callback: Callable[[Change, Row], None]) -> Callable[[], None]:
        """Be told of every change of a thread's row, and of each session that is gone; returns what ends it.

        The callback may not block. Where the thread of one that is gone has another session, its row follows.
        """
        self._subscribers.append(callback)

        def leave() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return leave

    # People's messages.

    def submit(
        self, thread_id: str, turn: Turn, *, platform: str, owner: str | None = None, agent: str | None = None
    ) -> int:
        """Queue a turn in the thread's session, started if need be; how many turns are before it.

        Raises Draining, TooMany (pool exhausted, or queue full), InvalidParams, Conflict (another agent).
        """
        if self.draining:
            raise Draining(_DRAINING)
        session = self._ensure(thread_id, platform=platform, owner=owner, agent=agent)
        if session.thread.title is None:
            session.thread.title = title_from(turn.text)
        before = session.submit(turn)
        self._memory.queued(turn, session.thread)
        return before

    def ensure(self, thread_id: str, *, platform: str, owner: str | None = None, agent: str | None = None) -> Session:
        """The thread's session; a new one is started where there is none. Raises as :meth:`submit`."""
        if self.draining and thread_id not in self._current:
            raise Draining(_DRAINING)
        return self._ensure(thread_id, platform=platform, owner=owner, agent=agent)

    def _ensure(self, thread_id: str, *, platform: str, owner: str | None = None, agent: str | None = None) -> Session:
        thread = self._threads.get(thread_id)
        name = agent or (self._default_agent if thread is None else thread.agent)
        choice = self._agents.get(name)
        if choice is None and thread is not None and thread.agent == name:
            choice = self._removed.get(name)
        if choice is None:
            raise InvalidParams(f"cannot use agent {name[:40]!r}: the agents are {', '.join(sorted(self._agents))}")
        session = self._current.get(thread_id)
        if thread is not None and thread.agent != name:
            if session is not None:
                raise Conflict(f"cannot change the agent of {thread_id} to {name!r}: {thread.agent!r} runs in it")
            thread = None
        if session is not None:
            return session
        after = self._make_room(thread_id)
        if thread is None:
            cwd = str(self._workspace.path(thread_id, choice.working_dir))
            thread = Thread(thread_id, platform=platform, agent=name, owner=owner, cwd=cwd, used_at=self._memory.now())
            self._threads[thread_id] = thread
            self._memory.keep(thread)
        session = self._current[thread_id] = self._new_session(thread, choice)
        session.open(after)
        self._tell("changed", session)
        return session

    def _new_session(self, thread: Thread, choice: AgentChoice) -> Session:
        return Session(
            thread,
            profile=choice.profile,
            launcher=self._launcher,
            workspace=self._workspace,
            limits=self._limits.session,
            home=self,
            clock=self._clock,
        )

    def _make_room(self, thread_id: str) -> list[asyncio.Task[Any]]:
        """What a new session waits for: its thread's last ones, and others' ends where all together are too many.

        Raises TooMany.
        """
        if len(self._current) >= self._limits.max_sessions:
            idle = [session for session in self._current.values() if session.evictable]
            if not idle:
                raise TooMany(
                    f"cannot start: pool exhausted, all {self._limits.max_sessions} sessions are busy; "
                    "wait for one to finish, or raise [pool] max_sessions"
                )
            min(idle, key=lambda session: session.idle_since).end("evicted")
        full = len(self._current) + len(self._closing) >= self._limits.max_sessions
        closing = [session for session in self._closing if full or session.thread.thread_id == thread_id]
        removal = self._removals.get(thread_id)
        return [*(session.end("evicted") for session in closing), *([] if removal is None else [removal])]

    # Ending.

    async def kill(
        self, targets: Sequence[Target], *, grace_seconds: float | None = None, forget: bool = False
    ) -> list[KillResult]:
        """End exactly these sessions, side by side; an answer each, in order, once all ends are verified.

        ``forget``: drop what would let the thread's next message resume.
        """
        return await asyncio.gather(*(self._kill(target, grace_seconds, forget=forget) for target in targets))

    async def _kill(self, target: Target, grace: float | None, *, forget: bool) -> KillResult:
        session = self._find(target)
        if session is None:
            return _result(target, "conflict" if target.thread_id in self._current else "already_gone")
        thread = session.thread
        if forget:  # now: a message that comes meanwhile, or another life, must not pick it up again
            thread.acp_session_id, thread.resumable = None, False
            self._tell("changed", session)
        ending = await asyncio.shield(session.end("killed", grace=grace, detail="An operator ended this session."))
        if forget and self._threads.get(thread.thread_id) is thread and thread.thread_id not in self._current:
            self._forget(thread)
        return KillResult(
            thread_id=target.thread_id,
            session_id=target.session_id,
            outcome="ended" if ending.processes_left == 0 else "failed",
            reached=ending.reached,
            processes_ended=ending.processes_ended,
            processes_left=ending.processes_left,
            seconds=round(ending.seconds, 3),
            resumable=thread.resumable and not forget,
        )

    def _both(self) -> tuple[Session, ...]:
        return (*self._current.values(), *self._closing)

    def _find(self, target: Target) -> Session | None:
        fits = (s for s in self._both() if s.session_id == target.session_id and s.thread.thread_id == target.thread_id)
        return next(fits, None)

    async def cancel(self, thread_id: str, session_id: str | None = None) -> Literal["cancelled", "idle"]:
        """Ask the thread's agent to stop its turn; answers at once. Raises NotFound, Conflict."""
        session = self._current.get(thread_id)
        if session is None:
            if thread_id not in self._threads:
                raise NotFound(f"cannot find thread {thread_id[:80]!r}")
            return "idle"
        if session_id is not None and session.session_id != session_id:
            raise Conflict(
                f"cannot cancel: the session of {thread_id} is {session.session_id} now, not {session_id[:40]}"
            )
        return "cancelled" if session.cancel() else "idle"

    async def quiet(self) -> None:
        """Wait until no turn runs and none is queued; or until every session ends anyway."""
        while not self.stopping and any(s.turn is not None or s.queued for s in self._both()):
            self._news.clear()
            await self._news.wait()

    def end_turns(self, reason: str) -> None:
        """Cancel every running turn, and end those that are queued with an error: ``reason``, a sentence for people."""
        for session in self._both():
            session.refuse_queued(reason)
            session.cancel()

    async def close(self, grace_seconds: float | None = None) -> None:
        """End every session, side by side; one that was ending already gets no more time than the others."""
        if ends := self._end_all(grace_seconds):
            grace = self._limits.session.grace_seconds if grace_seconds is None else grace_seconds
            _, late = await asyncio.wait(ends, timeout=grace + _LATE_SECONDS)
            if late:
                self.force()
                await asyncio.wait(late)
        if self._removals:
            await asyncio.wait(self._removals.values())

    def _end_all(self, grace_seconds: float | None) -> list[asyncio.Task[TerminationResult]]:
        self.draining = self.stopping = True
        self._news.set()
        return [session.end("stopped", grace=grace_seconds, detail="acpbot is stopping.") for session in self._both()]

    def force(self) -> None:
        """End every session, and kill the leaders of all agents now, so that no end needs any more grace."""
        self._end_all(0.0)
        for session in self._both():
            if session.process is not None:
                session.process.kill()

    def forget(self, thread_id: str) -> bool:
        """Drop what would let a thread resume whose session has ended or is ending; whether there was anything."""
        thread = self._threads.get(thread_id)
        if thread is None or thread_id in self._current:
            return False
        thread.acp_session_id, thread.resumable = None, False
        self._forget(thread)
        return True

    def _forget(self, thread: Thread) -> None:
        del self._threads[thread.thread_id]
        self._memory.forget(thread)

    # What sessions tell (Home).

    def session_changed(self, session: Session) -> None:
        """A session's row has changed."""
        self._tell("changed", session)

    def session_launched(self, session: Session) -> None:
        """A session's processes can be found from now on, by the next life too."""
        self._memory.launched(session)

    async def turn_starting(self, turn: Turn) -> None:
        """A turn's prompt may be sent once it is on disk that it may have been, else it could be sent twice."""
        await self._memory.starting(turn)

    def session_afresh(self, session: Session) -> None:
        """A thread's agent has forgotten the conversation: the thread is told."""
        chat = self._chats.get(session.thread.platform)
        if chat is not None:
            chat.session_afresh(session.thread.thread_id)

    def session_ending(self, session: Session) -> None:
        """A session begins to end: its thread's next message starts another one."""
        if self._current.get(session.thread.thread_id) is session:
            del self._current[session.thread.thread_id]
        self._closing[session] = None

    def session_ended(self, session: Session, reason: Reason, detail: str | None, queued: list[Turn]) -> None:
        """A session is gone: free its place, suspend its thread, carry its waiting turns over or end them."""
        thread = session.thread
        self._closing.pop(session, None)
        self._stuck_told.discard(session.session_id)
        self._memory.gone(session)
        self._tell("gone", session)
        chat = self._chats.get(thread.platform)
        if chat is not None and reason != "replaced":  # that is no end: the turn goes on
            chat.session_ended(thread.thread_id, reason, detail, resumable=thread.resumable)
        if reason in {"crashed", "stuck", "replaced"} and not self.stopping:
            self._carry_over(session, queued)
            return
        for turn in queued:
            if reason == "stopped" and turn.message is not None:
                self._memory.queued(turn, thread)
                turn.finish(TurnEnd(DEFERRED))
            else:
                turn.finish(TurnEnd("cancelled" if reason == "killed" else "error", detail))

    def _carry_over(self, session: Session, queued: Sequence[Turn]) -> None:
        if not queued:
            return
        try:
            follower = self._ensure(session.thread.thread_id, platform=session.thread.platform)
        except (TooMany, InvalidParams) as error:
            for turn in queued:
                turn.finish(TurnEnd("error", str(error)))
        else:
            follower.take_over(queued, session.returned)

    def _tell(self, change: Change, session: Session) -> None:
        self._news.set()
        if self._threads.get(session.thread.thread_id) is session.thread:
            self._memory.keep(session.thread)
        chat = self._chats.get(session.thread.platform)
        if chat is not None:
            chat.session_changed(session.thread.thread_id)
        if not self._subscribers:
            return
        if change == "gone":
            self._publish("gone", session)
        live = self._live(session.thread.thread_id)
        if live is not None:
            self._publish("changed", live)

    def _publish(self, change: Change, session: Session) -> None:
        row = session.row()
        for subscriber in tuple(self._subscribers):
            subscriber(change, row)

    # Time.

    def tick(self) -> None:
        """Look at every session once: expiry, stuck turns, turns over their limit. Called about once a second."""
        now, wall = self._clock(), self._memory.now()
        for session in list(self._current.values()):
            if session.evictable and now - session.idle_since >= self._limits.idle_seconds:
                session.end("expired")
            elif session.turn is not None:
                self._review(session)
        self._memory.mind_the_clock(now, self._threads.values())
        old = [thread for thread in self._threads.values() if wall - thread.used_at >= self._limits.ttl_seconds]
        for thread in old:
            if self._live(thread.thread_id) is None:
                self._forget(thread)
                if self._limits.remove_workspace:
                    self._remove_workspace(thread)

    def _remove_workspace(self, thread: Thread) -> None:
        key = thread.thread_id
        removal = asyncio.create_task(asyncio.to_thread(remove_workspace, self._workspace, thread))
        self._removals[key] = removal
        removal.add_done_callback(lambda _: self._removals.pop(key, None))

    def _review(self, session: Session) -> None:
        verdict = review(session, self._limits.turn_timeout_seconds, self._limits.on_stuck)
        thread = session.thread
        if verdict is Verdict.FINE:
            self._stuck_told.discard(session.session_id)
            return
        if session.session_id not in self._stuck_told:
            self._stuck_told.add(session.session_id)
            seconds, activity = round(session.silent_seconds, 1), session.activity
            fields = {"thread": thread.thread_id, "session": session.session_id, "verdict": verdict.value}
            log.warning("turn_stuck", **fields, silent_seconds=seconds, activity=activity)
            chat = self._chats.get(thread.platform)
            if chat is not None and verdict is not Verdict.KILL:
                chat.session_stuck(thread.thread_id, activity, seconds)
            self._tell("changed", session)
        if verdict is Verdict.CANCEL:
            session.cancel()
        elif verdict is Verdict.KILL:
            session.end("stuck", detail="The agent did not finish in time and was ended.")

    async def sample(self) -> None:
        """Take the counts of processes, memory and CPU anew, in one look at the system, off the event loop."""
        sessions = self.sessions()
        processes = [session.process for session in sessions if session.process is not None]
        found = await self._launcher.sample(processes)
        for session in sessions:
            session.usage = found.get(session.session_id, session.usage)


def _result(target: Target, outcome: Literal["already_gone", "conflict"]) -> KillResult:
    return KillResult(
        thread_id=target.thread_id,
        session_id=target.session_id,
        outcome=outcome,
        reached=None,
        processes_ended=0,
        processes_left=0,
        seconds=0.0,
        resumable=False,
    )
