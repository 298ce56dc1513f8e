"""One thread's conversation with one agent process: its start, its state and its end.

No lock is held while an agent works: status, cancel and end look at plain state on the event loop, and only the
session's own task waits for the running turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from acpbot.acp.connection import Closed
from acpbot.aio import TaskSet
from acpbot.errors import (
    SOMETHING_WRONG,
    AcpbotError,
    AgentError,
    AgentGone,
    AgentStartError,
    Conflict,
    internal_error,
)
from acpbot.logs import get_logger
from acpbot.runtimes.ends import crash_words
from acpbot.sessions import workspace
from acpbot.sessions.launch import ended_text, exit_cause, start_error
from acpbot.sessions.process_start import ProcessStart
from acpbot.sessions.session_row import session_row
from acpbot.sessions.terminate import NOTHING_RAN, UNVERIFIED, TerminationResult, terminate
from acpbot.sessions.turn import Turn, TurnEnd, last_answer, session_over
from acpbot.sessions.turn_runner import TurnRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acpbot.acp.agent import Agent
    from acpbot.config.in_force import SettingsInForce
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.registry import Runtimes
    from acpbot.runtimes.runtime import AgentProcess, Usage
    from acpbot.sessions.kept_output import KeptOutput
    from acpbot.sessions.pauses import Pauses
    from acpbot.sessions.thread import ThreadListener
    from acpbot.sessions.turn import PermissionNote, TurnListener
    from acpbot.sessions.usage import UsageMeter
    from acpbot.sessions.views import Reason, Row, SessionState
    from acpbot.storage.records import ThreadRecord

log = get_logger(__name__)

# A leader that has exited writes nothing more; where reading was paused, this much time is left to read the rest.
_LAST_OUTPUT_SECONDS: Final = 0.25
# A task that is cancelled ends at once; where it does not, its session ends all the same.
_MAIN_SECONDS: Final = 2.0


class SessionObserver(Protocol):
    """What a session reports to the pool that it belongs to."""

    def session_changed(self, session: Session) -> None:
        """Something that its row shows has changed."""

    def session_launched(self, session: Session) -> None:
        """Its agent's process runs."""

    async def turn_starting(self, turn: Turn) -> None:
        """A turn's prompt is sent once this returns."""

    def permission_answered(self, session: Session, note: PermissionNote) -> None:
        """A permission request was answered, and no person did it."""

    def session_ending(self, session: Session) -> None:
        """It begins to end, and accepts no more turns."""

    def session_ended(self, session: Session, reason: Reason, detail: str | None, queued: list[Turn]) -> None:
        """It has ended; ``queued`` are the turns that never ran. Called again for each further try to end its agent.

        ``session.ending`` says whether a process may be left.
        """


class Session:
    """One agent process for one thread; ``session_id`` is never reused.

    In state ``starting`` until :meth:`open` has started it. All methods belong to the event loop's thread.
    ``agent_settings`` and ``cwd`` hold for the whole session, ``settings`` is read at each use. ``listener`` is the
    thread's chat platform. ``meter``: what its agent has used in the thread. ``kept`` keeps its last output. ``clock``:
    monotonic seconds; ``wall``: Unix time. ``ending``: how the last try to end it went, ``None`` before.
    ``detail_for_people``: why it has failed, for those who are no operators; empty where it has not. ``is_warm``: its
    process waits for the session of a thread, which takes it over: ``taken`` there.
    """

    def __init__(
        self,
        thread: ThreadRecord,
        *,
        settings: SettingsInForce,
        agent_settings: AgentSettings,
        runtimes: Runtimes,
        observer: SessionObserver,
        listener: ThreadListener | None,
        meter: UsageMeter,
        kept: KeptOutput,
        clock: Callable[[], float],
        wall: Callable[[], float],
        pauses: Pauses,
        is_warm: bool = False,
        taken: Session | None = None,
    ) -> None:
        self.thread = thread
        self.is_warm = is_warm
        self.session_id: str = secrets.token_hex(8) if taken is None else taken.session_id
        self.cwd = workspace.work_folder(settings.now, thread)
        self.agent: Agent | None = None
        self.process: AgentProcess | None = None
        self.usage: Usage | None = None
        self.ending: TerminationResult | None = None
        self.detail_for_people = ""
        self._settings = settings
        self.agent_settings = agent_settings
        self._observer = observer
        self.listener = listener
        self._clock = clock
        self._fields = {"thread": thread.thread_id, "session": self.session_id, "agent": thread.agent}
        self._on_change = partial(observer.session_changed, self)
        self._process_start = ProcessStart(settings, agent_settings, runtimes, on_progress=self._on_change)
        self._kept = kept
        self.turns = TurnRunner(
            thread,
            kept.ring(thread, self.session_id),
            settings,
            clock=clock,
            wall=wall,
            on_change=self._on_change,
            on_starting=observer.turn_starting,
            on_failure=self._prompt_failed,
            on_empty_reply=self._replace,
            on_permission_note=self._report_permission_note,
            on_permission_record=partial(observer.permission_answered, self),
            unprompted=self._unprompted,
            pauses=pauses,
        )
        self.options = self.turns.options
        self.options.usage = meter
        self.permission_requests = self.turns.permission_requests
        self.permission_requests.folder = self.cwd
        self.questions = self.turns.questions
        self._taken = None if taken is None else taken.hand_over()
        if self._taken is not None:
            self.process, self.agent = self._taken
            self.turns.agent = self.agent
        self._opened = False
        self._gone = False
        self._tasks = TaskSet(f"session {self.session_id}", self._crashed)
        self._main_task: asyncio.Task[None] | None = None
        self._end_tasks: TaskSet | None = None
        self._end_task: asyncio.Task[TerminationResult] | None = None

    # What others see.

    @property
    def progress(self) -> str:
        """What its start does now, in a few words; empty once it has started, and where that is not worth a word."""
        return "" if self._opened else self._process_start.progress

    @property
    def state(self) -> SessionState:
        """Its state as docs/protocol.md lists them; derived, so that it can't differ from the facts."""
        if self._gone:
            return "gone"
        if self._end_task is not None:
            return "closing"
        if not self._opened:
            return "starting"
        if self.permission_requests.open or self.questions.open:
            return "waiting"
        if self.turns.turn is None:
            return "warm" if self.is_warm else "idle"
        return "stuck" if self.turns.is_stuck else "busy"

    @property
    def evictable(self) -> bool:
        """Whether ending it would interrupt nothing."""
        if self.is_warm:
            return self.state in {"starting", "warm"}
        return self.state == "idle" and not self.turns.queue

    def row(self) -> Row:
        """A snapshot."""
        return session_row(self, self._clock())

    async def choose(self, category: str, value: str) -> None:
        """Set ``mode``, ``model`` or a config option; the thread's next session sets it again.

        Raises Conflict (still starting, or ending), InvalidParams, AgentRefused, AgentTimeout, AgentGone.
        """
        if self.agent is None or not self._opened or self._end_task is not None:
            raise Conflict(f"cannot set {category} now: the session is {self.state}; try again in a moment")
        await self.options.choose(self.agent, category, value)
        key = self.options.key(category)
        others = {option: old for option, old in self.thread.chosen.items() if self.options.key(option) != key}
        self.thread.chosen = {**others, key: value}
        self._on_change()

    def report_stuck(self) -> None:
        """Report to the thread that the agent is silent, and what it waits for."""
        if self.listener is not None:
            seconds, activity = round(self.turns.silent_seconds, 1), self.turns.calls.activity
            self.listener.session_stuck(self.thread.thread_id, activity, seconds)
        self._on_change()

    def report_agent_removed(self) -> None:
        """Report to the thread that its agent is no longer in the configuration."""
        if self.listener is not None:
            self.listener.agent_removed(self.thread.thread_id, self.thread.agent)

    def _report_permission_note(self, note: PermissionNote) -> None:
        if self.listener is not None:
            self.listener.permission_answered(self.thread.thread_id, note)

    def _unprompted(self) -> TurnListener | None:
        """Who shows what the agent does while no turn runs."""
        return None if self.listener is None else self.listener.unprompted(self.thread.thread_id)

    # Its start.

    def open(self, after: Sequence[asyncio.Task[Any]] = ()) -> None:
        """Start it; ``after`` are tasks that must end before, such as the end of the session whose place it takes."""
        self._main_task = self._tasks.start(self._run(after), name="main", endless=True)

    async def _run(self, after: Sequence[asyncio.Task[Any]]) -> None:
        if after:
            await asyncio.wait(after)
        self._tasks.start(self._kept.restore(self.turns.output), name="earlier output")
        try:
            agent = await self._start()
        except AgentGone:
            self.end("replaced")  # the process that was taken has ended; what waits here goes on in another session
            return
        except AcpbotError as error:
            people = error.for_people if isinstance(error, AgentError) else AgentStartError.for_people
            self._fail("start_failed", str(error), people)
            return
        self._opened = True
        self.turns.idle_since = self._clock()
        log.info("session_opened", **self._fields)
        await self.turns.run(agent)

    async def _start(self) -> Agent:
        thread, cwd = self.thread, Path(self.cwd)
        if self._taken is not None:
            await self._process_start.make_folder(cwd)
            process, agent = self._taken
        else:
            process, agent = await self._process_start.launch(cwd, self.session_id, thread.thread_id)
        self.process, self.agent, self.turns.agent = process, agent, agent
        process.stderr.listener = self._stderr
        self._tasks.start(self._read_updates(agent), name="reader", on_crash=self._reader_crashed)
        self._tasks.start(self._watch_exit(agent, process), name="exit")
        for missing in process.limits_not_held:
            log.warning("limit_not_held", **self._fields, limit=missing.limit, reason=missing.reason)
        self._observer.session_launched(self)
        try:
            if self._taken is None:
                await agent.initialize()
            if self.is_warm:
                return agent
            opened = await agent.open(cwd, thread.acp_session_id)
            self.turns.opened(reopened=opened != "new")
            thread.adopted = thread.adopted and opened != "new"
            if thread.acp_session_id is not None:
                self._report_conversation(resumed=opened != "new")
            self.options.opened(agent.session)
            await self._set_options(agent, reopened=opened != "new")
        except AgentError as error:
            if isinstance(error, AgentGone) and self._taken is not None:
                raise
            raise await start_error(self.agent_settings, process, error) from None
        thread.acp_session_id, thread.resumable = agent.session_id, agent.can_resume
        thread.ran_in = self.agent_settings.runtime
        return agent

    def _report_conversation(self, *, resumed: bool) -> None:
        """Report to the thread what its agent may not know any more of the conversation that it had before."""
        listener, thread = self.listener, self.thread
        if listener is None:
            return
        if (thread.ran_in or "local") != self.agent_settings.runtime:
            listener.session_moved(thread.thread_id)
        if not resumed:
            listener.session_started_fresh(thread.thread_id)

    async def _set_options(self, agent: Agent, *, reopened: bool) -> None:
        """Set the mode, model and options of the configuration and of the thread; report what the agent did not take.

        Raises AgentStartError (the mode of the configuration), AgentGone.
        """
        thread, options = self.thread, self.options
        seconds = self.agent_settings.start_timeout_seconds
        applied = options.apply(agent, self.agent_settings, thread.chosen, limit=seconds, reopened=reopened)
        for choice in await applied:
            thread.chosen = {option: value for option, value in thread.chosen.items() if option != choice.option}
            log.warning("choice_dropped", **self._fields, category=choice.option, reason=choice.reason)
            if self.listener is not None:
                self.listener.choice_dropped(thread.thread_id, choice.option, choice.value)
        for missing in options.not_set:
            log.warning("option_not_set", **self._fields, **msgspec.structs.asdict(missing))
            if self.listener is not None:
                self.listener.option_not_set(thread.thread_id, missing.option, missing.value)
        if options.unasked is not None and self._settings.now.permissions.policy == "ask":
            log.warning("mode_does_not_ask", **self._fields, mode=options.mode)

    def _stderr(self, lines: list[str]) -> None:
        for line in lines:
            self.turns.output.line("stderr", line)

    async def _read_updates(self, agent: Agent) -> None:
        while True:
            for item in await agent.next_batch():
                if isinstance(item, Closed):
                    await self._on_closed()
                    return
                self.turns.handle(item)
            del item  # the agent may write nothing for days, and a list of commands takes 15 KB

    async def _watch_exit(self, agent: Agent, process: AgentProcess) -> None:
        with contextlib.suppress(AgentGone):  # the process was closed: the session ends already
            await process.wait()
        if agent.paused:
            await asyncio.sleep(_LAST_OUTPUT_SECONDS)
        agent.close()

    # Its end.

    def hand_over(self) -> tuple[AgentProcess, Agent]:
        """Give its process to another session, which has the same id; this one is no session any more."""
        if self.process is None or self.agent is None:
            raise RuntimeError("cannot hand a process over: none has been started")
        self._gone = True
        self._tasks.cancel_soon()
        return self.process, self.agent

    def end(
        self, reason: Reason, *, grace: float | None = None, detail: str | None = None, delete: bool = False
    ) -> asyncio.Task[TerminationResult]:
        """Begin to end the session, whatever it does now. Once the task has ended, :attr:`ending` says how it went.

        While it ends, and once nothing is left of it, further calls return the same task. Where something may be left,
        the next call tries again. ``delete``: have the agent delete the conversation, where it can.
        """
        seconds = self._settings.now.pool.grace_seconds if grace is None else grace
        if self._end_task is None:
            self.turns.stop()
            self._tasks.release()
            on_crash = partial(self._end_crashed, reason, detail)
            self._end_tasks = TaskSet(f"end of session {self.session_id}", on_crash)
            self._end_task = self._end_tasks.start(self._end(reason, seconds, detail, delete=delete), name="first try")
            self._observer.session_ending(self)
            self._on_change()
        elif self._end_tasks is not None and self._end_task.done() and self.ending and not self.ending.ended:
            self._end_task = self._end_tasks.start(self._end(reason, seconds, detail), name="another try")
        return self._end_task

    async def _end(
        self, reason: Reason, grace: float, detail: str | None, *, delete: bool = False
    ) -> TerminationResult:
        turns = self.turns
        try:
            await self._stop_turns()
            self.ending = UNVERIFIED
            if self.agent is None or self.process is None:
                self.ending = self._not_launched()
            else:
                over = None if turns.turn is None or self.agent.closed else turns.over
                self.ending = await terminate(
                    self.agent, self.process, grace=grace, turn_over=over, answer=turns.answer_requests, delete=delete
                )
        except (Exception, asyncio.CancelledError):
            # Whatever fails, no descriptors or no threads left for instance, and even where somebody cancels this task:
            # the session and its turn end all the same.
            log.exception("session_end_failed", **self._fields)
        turns.answer_requests()
        self._tasks.cancel_soon()
        turns.permission_notes.flush()
        return self._conclude(reason, detail)

    async def _stop_turns(self) -> None:
        """Stop the task that runs the turns; a prompt that the agent has not received waits again."""
        if self._main_task is not None:
            self._main_task.cancel()
            await asyncio.wait([self._main_task], timeout=_MAIN_SECONDS)
        turns = self.turns
        if turns.turn is not None and turns.turn.prompt_id is None:
            turns.queue.appendleft(turns.turn)
            turns.turn = None
            self._on_change()

    def _conclude(self, reason: Reason, detail: str | None) -> TerminationResult:
        """End the turn and report that the session is gone, whatever fails on the way."""
        turns, ending = self.turns, self.ending or UNVERIFIED
        self.ending = ending
        try:
            turns.end(last_answer(turns.answer, session_over(reason, detail, self.detail_for_people), reason))
        except Exception:
            # Broad: it is a defect, and the thread must be able to go on.
            log.exception("session_end_failed", **self._fields)
        if not self._gone:  # else it is one more try to end what is left
            self._kept.session_ended(self.thread, turns.output, self.process, reason, detail)
        self._gone = True
        log.info("session_ended", **self._fields, reason=reason, **msgspec.to_builtins(ending))
        queued = turns.take_queued()
        try:
            self._observer.session_ended(self, reason, detail, queued)
        except Exception as error:
            # Broad, for the same reason; who waits for an answer must read that none comes.
            log.exception("session_end_failed", **self._fields)
            for turn in queued:
                turn.finish(TurnEnd("error", SOMETHING_WRONG, detail=internal_error("go on", error)))
        return ending

    def _end_crashed(self, reason: Reason, detail: str | None, _error: BaseException) -> None:
        if not self._gone:
            self._conclude(reason, detail)

    def _not_launched(self) -> TerminationResult:
        """How it ended where it has no process: a start that was given up may have left one that could not be ended.

        The runtime counts what that has left as strays, and ends it.
        """
        task = self._main_task
        failed = task is not None and task.done() and not task.cancelled() and task.exception() is not None
        return msgspec.structs.replace(UNVERIFIED, ended=True) if failed else NOTHING_RAN

    def _fail(self, reason: Reason, detail: str, for_people: str) -> None:
        if self._end_task is None:
            self.detail_for_people = for_people
            log.warning("session_failed", **self._fields, reason=reason, detail=detail)
            alive = self.process is not None and self.process.alive is not False
            self.end(reason, grace=None if alive else 0.0, detail=detail)

    def _crashed(self, error: BaseException) -> None:
        """A task of the session has raised what it should never raise: nobody would run turns any more."""
        detail = internal_error("go on" if self._opened else "start the agent", error)
        self._fail("crashed" if self._opened else "start_failed", detail, SOMETHING_WRONG)

    def _prompt_failed(self, error: AgentError) -> None:
        self._fail("crashed", str(error), error.for_people)

    def _reader_crashed(self, error: BaseException) -> None:
        if self.agent is not None:
            self.agent.close()  # nobody reads the answer to the running prompt any more
        self.turns.over.set()
        self._crashed(error)

    def _replace(self, turn: Turn) -> None:
        """Have another session run a turn that this one ends empty."""
        log.warning("session_replaced", **self._fields)
        if turn is self.turns.retried:
            self.thread.acp_session_id = None  # empty in a new process too: only a new conversation can help
            if self.listener is not None:
                self.listener.session_started_fresh(self.thread.thread_id)
        self.turns.give_back(turn)
        self.end("replaced")

    async def _on_closed(self) -> None:
        if self._end_task is not None:
            self.turns.over.set()  # the answer to the running prompt won't come: nothing to wait for
        elif self._opened and self.process is not None:
            cause = await exit_cause(self.process)
            self._fail("crashed", f"cannot go on: the agent {ended_text(cause)}", crash_words(cause))
