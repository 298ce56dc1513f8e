"""All sessions: what there is, people's messages, and what sessions report. Nothing here waits for a running turn."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

from acpbot.config.in_force import SettingsInForce
from acpbot.errors import Conflict, Draining, NotFound, TooMany
from acpbot.logs import get_logger
from acpbot.sessions.agent_choice import AgentChoice
from acpbot.sessions.capacity import Capacity
from acpbot.sessions.ending import KILLED, SUSPENDED, SessionEnder
from acpbot.sessions.events import EventLog
from acpbot.sessions.inbox import Inbox
from acpbot.sessions.kept_output import KeptOutput
from acpbot.sessions.leftovers import Leftovers
from acpbot.sessions.pauses import PAUSES, Pauses
from acpbot.sessions.session import Session
from acpbot.sessions.session_reports import SessionReports
from acpbot.sessions.session_row import session_detail
from acpbot.sessions.session_table import SessionTable
from acpbot.sessions.subscribers import Subscribers
from acpbot.sessions.thread import ThreadRegistry
from acpbot.sessions.views import Detail, KillResult, OutdatedSessions, PoolCounts, Row, Target
from acpbot.sessions.waiting_line import Waiting, WaitingLine
from acpbot.sessions.warm_agents import WarmAgents
from acpbot.sessions.watchdog import Watchdog
from acpbot.storage.store import Store
from acpbot.times import seconds_since_boot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from acpbot.config.settings import AgentSettings, Settings
    from acpbot.runtimes.registry import Runtimes
    from acpbot.sessions.inbox import SendNow
    from acpbot.sessions.subscribers import Change
    from acpbot.sessions.thread import Beginning, ThreadListener
    from acpbot.sessions.turn import Turn
    from acpbot.sessions.watcher import Watcher
    from acpbot.storage.records import ThreadRecord

log = get_logger(__name__)

_DRAINING: Final = "cannot start a turn: acpbot is about to stop or restart; try again in a moment"


class Pool:
    """The sessions of a daemon. All methods belong to the event loop's thread.

    ``runtimes`` start the agents, ``clock`` gives monotonic seconds, ``wall`` Unix time, ``boottime`` seconds
    that count on while the machine sleeps. ``draining``: no new turns are accepted, those that were go on.
    ``stopping``: every session ends, none is started. ``kept``: the last output of each thread. ``ender``: the ends
    that only operators ask for.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        runtimes: Runtimes,
        store: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        boottime: Callable[[], float] = seconds_since_boot,
        pauses: Pauses = PAUSES,
    ) -> None:
        self.store = store or Store()
        self.draining = self.stopping = False
        self._settings = SettingsInForce(settings)
        self._agents = AgentChoice(self._settings)
        self.runtimes = runtimes
        self._clock = clock
        self._wall = wall
        self._pauses = pauses
        self._threads = ThreadRegistry(self.store, wall, boottime, runtimes)
        self.known_threads = self._threads.known
        self.kept = KeptOutput(self.store, self._settings, self._threads.by_id, wall)
        self._table = SessionTable()
        self._leftovers = Leftovers(runtimes, self.store, self._table)
        self._line = WaitingLine(self._settings, self._start_waiting, lambda: not self.draining)
        self._capacity = Capacity(self._table, self._threads, self._settings, self._line)
        self._inbox = Inbox(
            table=self._table,
            threads=self._threads,
            line=self._line,
            capacity=self._capacity,
            agents=self._agents,
            store=self.store,
            start=self._session_for,
        )
        self._subscribers = Subscribers()
        self.events = EventLog(self.store, wall)
        self._watchdog = Watchdog(clock, self.events)
        self._quiet_check = asyncio.Event()
        make_warm = partial(self._make, is_warm=True)
        self._warm = WarmAgents(self._settings, runtimes, self._table, make_warm, clock=clock, wall=wall)
        self._reports = SessionReports(
            store=self.store,
            settings=self._settings,
            threads=self._threads,
            table=self._table,
            leftovers=self._leftovers,
            line=self._line,
            inbox=self._inbox,
            subscribers=self._subscribers,
            events=self.events,
            watchdog=self._watchdog,
            clock=clock,
            wall=wall,
            is_stopping=lambda: self.stopping,
            on_change=self._quiet_check.set,
            on_warm_ended=self._warm.ended,
        )
        self.session_changed = self._reports.session_changed
        self._ender = self.ender = SessionEnder(
            self._table, self._threads, self._leftovers, self._line, self._settings, on_change=self.session_changed
        )
        if settings.pool.remove_workspace:
            log.warning("workspaces_are_removed", workspace=str(settings.pool.workspace), key="[pool] remove_workspace")

    @property
    def watcher(self) -> Watcher:
        """Who is told how turns and sessions end."""
        return self._reports.watcher

    @watcher.setter
    def watcher(self, watcher: Watcher) -> None:
        self._reports.watcher = watcher

    @property
    def max_sessions(self) -> int:
        """How many sessions may have a process at once."""
        return self._settings.now.pool.max_sessions

    @property
    def agents(self) -> Mapping[str, AgentSettings]:
        """The agents that threads may use, by name."""
        return self._settings.now.agents

    def reconfigure(self, settings: Settings) -> None:
        """Hold to other settings from now on; a session that runs keeps its agent and that agent's limits.

        See :meth:`outdated`. Nobody can choose an agent any more that is gone from the settings; threads that have it
        keep it until acpbot is started again.
        """
        self._agents.keep_removed(settings.agents.keys(), self._threads.of_agents())
        self._settings.replace(settings)
        self._inbox.recheck()
        self.kept.apply_settings()
        for session in self._table.with_turns():
            session.permission_requests.apply_policy()
            session.questions.apply_policy()
            if session.agent_settings.name not in settings.agents:
                session.report_agent_removed()

    def attach(self, platform: str, listener: ThreadListener, *, limits_people: bool = True) -> None:
        """Report to ``listener`` on the sessions of its platform that start from now on.

        ``limits_people``: ``[pool] max_sessions_per_user`` and ``max_queued_per_user`` hold for its users.
        """
        self._threads.listeners[platform] = listener
        if not limits_people:
            self._threads.unlimited.add(platform)

    def subscribe(self, callback: Callable[[Change, Row], None]) -> Callable[[], None]:
        """Report every change of a thread's row, and each session that is gone; return a function that ends this.

        The callback may not block. Where the thread of one that is gone has another session, its row follows.
        """
        return self._subscribers.add(callback)

    # What there is.

    def sessions(self) -> list[Session]:
        """The session of each thread that has one, be it closing."""
        return self._table.of_threads()

    def rows(self, *, suspended: bool = False) -> list[Row]:
        """A row for each session, oldest thread first; with ``suspended`` the threads without a process too."""
        rows = [session.row() for session in self.sessions()]
        if suspended:
            running = {row.thread_id for row in rows}
            others = [thread for key, thread in self._threads.by_id.items() if key not in running]
            settings, queued = self._settings.now, self._line.queued
            rows += [self._threads.suspended_row(each, settings, queued(each.thread_id)) for each in others]
        return sorted(rows, key=lambda row: (row.created_at, row.thread_id))

    def counts(self) -> PoolCounts:
        """How many sessions are in which state."""
        return self._table.counts(self._threads.by_id, self.max_sessions, len(self._line))

    @property
    def suspended(self) -> int:
        """How many threads have no session."""
        return self._table.without_session(self._threads.by_id)

    @property
    def live(self) -> list[str]:
        """The ids of all sessions that run, those that end too: what belongs to them is no leftover."""
        return [session.session_id for session in (*self._table.with_turns(), *self._table.unverified)]

    @property
    def strays(self) -> int:
        """How many processes belong to no session, or are left of one that has ended, as far as is known."""
        return self._leftovers.count

    def resolve(self, thread: str) -> str:
        """The thread id that ``thread`` names: itself, or a unique suffix of it. Raises NotFound, Ambiguous."""
        if thread in self._table.current:
            return thread
        return self._threads.resolve(thread)

    def get(self, thread_id: str) -> Session | None:
        """The thread's session, where it has one that is not ending."""
        return self._table.current.get(thread_id)

    def thread(self, thread_id: str) -> ThreadRecord | None:
        """What is known of a thread."""
        return self._threads.by_id.get(thread_id)

    def of_platform(self, platform: str) -> list[ThreadRecord]:
        """All threads of a platform, with a session or without."""
        return [thread for thread in self._threads.by_id.values() if thread.platform == platform]

    def row(self, thread_id: str) -> Row:
        """The thread's row. Raises NotFound."""
        session, thread = self._table.of_thread(thread_id), self._threads.by_id.get(thread_id)
        if session is not None:
            return session.row()
        if thread is None:
            raise NotFound(f"cannot find thread {thread_id[:80]!r}")
        return self._threads.suspended_row(thread, self._settings.now, self._line.queued(thread_id))

    async def detail(self, thread_id: str) -> Detail:
        """The thread's row and what takes a look at the system. Raises NotFound."""
        session = self._table.of_thread(thread_id)
        return await (self.kept.detail(self.row(thread_id)) if session is None else session_detail(session))

    def tail(
        self, thread_id: str, callback: Callable[[dict[str, Any]], None]
    ) -> tuple[list[dict[str, Any]], Callable[[], None]]:
        """Recent output of the thread's session, then each new piece to ``callback``. Raises NotFound."""
        session = self._table.of_thread(thread_id)
        if session is None:
            raise NotFound(f"cannot tail {thread_id}: no agent runs for it now")
        return session.turns.output.follow(callback)

    def outdated(self) -> list[OutdatedSessions]:
        """The sessions that still use earlier settings of their agents: only their end changes that."""
        return self._agents.outdated(self._table.current.values())

    def removed_agents(self) -> dict[str, int]:
        """How many threads use each agent that is no longer in the configuration."""
        return self._agents.removed(self._threads.of_agents())

    # People's messages.

    def submit(self, thread_id: str, turn: Turn, **begin: Unpack[Beginning]) -> int:
        """Queue a turn in the thread's session, started if need be; how many turns are before it.

        Where all agents are busy, the thread waits in line; the answer is then its place, and the turns before it.
        Raises Draining, TooMany (queue or line full, or too many sessions of a person), InvalidParams, Conflict
        (another agent).
        """
        if self.draining:
            raise Draining(_DRAINING)
        return self._inbox.submit(Waiting(thread_id, **begin), turn)

    def withdraw(self, thread_id: str, key: str) -> bool:
        """Take a turn back that waits, by its key; whether there was one."""
        return self._inbox.withdraw(thread_id, key)

    def withdraw_from_line(self, thread_id: str, asker: str | None = None, *, by: str | None = None) -> int:
        """As :meth:`WaitingLine.cancel`."""
        return self._line.cancel(thread_id, asker, by)

    def send_now(self, thread_id: str, key: str | None = None, *, by: str | None = None) -> SendNow:
        """As :meth:`Inbox.send_now`."""
        return self._inbox.send_now(thread_id, key, by)

    def revise(self, thread_id: str, key: str, blocks: list[dict[str, Any]], text: str) -> Turn | None:
        """Replace what a turn asks for that waits, by its key; ``None`` where there is none."""
        return self._inbox.revise(thread_id, key, blocks, text)

    def choose_later(self, thread_id: str, option: str, value: str) -> None:
        """Have the next session of a thread without one set an option. Raises NotFound, InvalidParams, Conflict."""
        if thread_id in self._table.current:
            raise Conflict(f"cannot set {option[:80]} later: an agent runs for {thread_id}; try again")
        self._threads.choose(thread_id, option, value)

    def ensure(self, thread_id: str, **begin: Unpack[Beginning]) -> Session:
        """The thread's session; a new one is started where there is none. Raises as :meth:`submit`."""
        if self.draining and thread_id not in self._table.current:
            raise Draining(_DRAINING)
        self._line.advance()
        waiting = self._line.get(thread_id)
        if waiting is not None and waiting.held:
            raise Conflict(f"cannot start {thread_id}: its last session is still ending; try again in a moment")
        return self._session_for(Waiting(thread_id, **begin))

    def _start_waiting(self, waiting: Waiting) -> None:
        self._inbox.start_waiting(waiting)

    def _session_for(self, wanted: Waiting) -> Session:
        """The session of a thread; a new one where there is none. Raises TooMany, InvalidParams, Conflict."""
        thread_id, platform, owner = wanted.thread_id, wanted.platform, wanted.owner
        thread = self._threads.in_channel(thread_id, wanted.channel)
        channel = wanted.channel if thread is None else thread.channel
        choice = self._agents.of(thread_id, thread, wanted.agent, channel)
        name = choice.name
        session = self._table.current.get(thread_id)
        if thread is not None and thread.agent != name:
            if session is not None:
                raise Conflict(f"cannot change the agent of {thread_id} to {name!r}: {thread.agent!r} runs in it")
            thread = None
        if session is not None:
            return session
        taken = self._warm.take(self._settings.now.in_channel(choice, channel))
        try:
            after = self._capacity.free_place(thread_id, platform, owner if thread is None else thread.owner)
        except TooMany:
            self._warm.put_back(taken)
            raise
        if (removal := self._threads.removals.get(thread_id)) is not None:
            after.append(removal)
        if thread is None:
            thread = self._threads.begin(thread_id, platform, name, owner, channel)
        agent_settings = self._settings.now.in_channel(choice, channel)
        session = self._table.current[thread_id] = self._make(thread, agent_settings, taken=taken)
        if taken is not None:
            self._subscribers.publish("gone", taken.row())
        self.known_threads.used(thread_id, platform)
        if self.known_threads.take_expired(thread_id) and session.listener is not None:
            session.listener.session_started_fresh(thread_id)
        self.events.session_started(session)
        session.open(after)
        self.session_changed(session)
        if name not in self.agents:
            session.report_agent_removed()
        return session

    def _make(
        self, thread: ThreadRecord, agent: AgentSettings, *, is_warm: bool = False, taken: Session | None = None
    ) -> Session:
        return Session(
            thread,
            settings=self._settings,
            agent_settings=agent,
            runtimes=self.runtimes,
            observer=self._reports,
            listener=self._threads.listeners.get(thread.platform),
            meter=self._threads.usage(thread),
            kept=self.kept,
            clock=self._clock,
            wall=self._wall,
            pauses=self._pauses,
            is_warm=is_warm,
            taken=taken,
        )

    # Ending.

    async def kill(
        self, targets: Sequence[Target], *, grace_seconds: float | None = None, forget: bool = False
    ) -> list[KillResult]:
        """End exactly these sessions, side by side; an answer each, in order, once all ends are verified.

        ``forget``: drop what would let the thread's next message resume, and have the agent delete the conversation
        where acpbot began it. A session that has ended and may have left processes is ended once more.
        """
        kills = [self._ender.end(each, "killed", KILLED, grace=grace_seconds, forget=forget) for each in targets]
        return await asyncio.gather(*kills)

    async def suspend(self, thread_id: str, session_id: str, *, grace_seconds: float | None = None) -> KillResult:
        """End exactly this session, a running turn and those that wait too, and keep the thread's conversation.

        The thread's next message resumes it, where the agent can (``resumable``). Answers as :meth:`kill`.
        """
        target = Target(thread_id=thread_id, session_id=session_id)
        return await self._ender.end(target, "suspended", SUSPENDED, grace=grace_seconds)

    async def cancel(
        self, thread_id: str, session_id: str | None = None, *, by: str | None = None
    ) -> Literal["cancelled", "idle"]:
        """Ask the thread's agent to stop its turn; answers at once. ``by``: who wants it. Raises NotFound, Conflict."""
        session = self._table.current.get(thread_id)
        if session is None:
            if thread_id not in self._threads.by_id:
                raise NotFound(f"cannot find thread {thread_id[:80]!r}")
            return "cancelled" if session_id is None and self._line.cancel(thread_id) else "idle"
        if session_id is not None and session.session_id != session_id:
            now = session.session_id
            raise Conflict(f"cannot cancel: the session of {thread_id} is {now} now, not {session_id[:40]}")
        return "cancelled" if session.turns.cancel(by=by) else "idle"

    async def quiet(self) -> None:
        """Wait until no turn runs and none is queued; or until every session ends anyway."""
        while not self.stopping and any(
            session.turns.turn is not None or session.turns.queue for session in self._table.with_turns()
        ):
            self._quiet_check.clear()
            await self._quiet_check.wait()

    def end_turns(self, reason: str, cut_off: str | None = None) -> None:
        """Cancel every running turn, and end those that are queued with an error: ``reason``, a sentence for people.

        ``cut_off`` says why to those who read a running turn.
        """
        self._ender.end_turns(reason, cut_off)

    async def close(self, grace_seconds: float | None = None) -> None:
        """End every session, side by side; one that was ending already gets no more time than the others."""
        self._stop()
        await self._ender.end_all(self._settings.now.pool.grace_seconds if grace_seconds is None else grace_seconds)
        await self._threads.tasks.wait()

    def force(self) -> None:
        """End every session, and kill the leaders of all agents now, so that no end needs any more grace."""
        self._stop()
        self._ender.force()

    def _stop(self) -> None:
        self.draining = self.stopping = True
        self._quiet_check.set()
        self._inbox.stop()

    def forget(self, thread_id: str) -> bool:
        """Drop what would let a thread resume whose session has ended or is ending; whether there was anything."""
        return self._ender.forget(thread_id)

    async def start_over(self, thread_id: str, *, agent: str | None = None) -> bool:
        """End the thread's session and forget its conversation; whether a session ran.

        What waits there is kept and runs in the next session, which has the agent ``agent``. Raises NotFound.
        """
        return await self._ender.start_over(thread_id, agent)

    # Time.

    def tick(self) -> None:
        """Look at every session once: expiry, stuck turns, turns over their limit. Called about once a second."""
        now, pool = self._clock(), self._settings.now.pool
        for session in self._table.current.values():
            session.options.usage.settle()  # what came after a turn
        self._watchdog.check(list(self._table.current.values()), pool)
        self._capacity.converge()
        for session, retry_at in list(self._table.unverified.items()):
            if now >= retry_at:
                session.end("stopped", grace=0.0)
        self._line.advance()
        if not self.draining:
            self._warm.look()
        self._threads.check_clock()
        used_before = self._wall() - self._settings.now.keep_seconds
        for thread in [thread for thread in self._threads.by_id.values() if thread.used_at <= used_before]:
            if self._table.of_thread(thread.thread_id) is None and self._line.get(thread.thread_id) is None:
                self._threads.expire(thread, self._settings.now)

    async def sample(self) -> None:
        """Measure processes, memory and CPU of all sessions, in one look at the system, off the event loop."""
        sessions = self.sessions()
        kinds = ((session.agent_settings.runtime, session.process) for session in sessions)
        found = await self.runtimes.sample((kind, process) for kind, process in kinds if process is not None)
        for session in sessions:
            session.usage = found.get(session.session_id, session.usage)
        self._leftovers.remember_strays()
