"""One thread's conversation with one agent process: its life, its state, and its queue of turns.

No lock is held while an agent works: status, cancel and end look at plain state on the event loop, and the turn that
runs is only ever waited for by the session's own task.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp import permissions, schema
from acpbot.acp.connection import Closed, PermissionAsked, PromptEnded, RequestCancelled
from acpbot.errors import AcpbotError, AgentError, AgentGone, Conflict
from acpbot.logs import get_logger
from acpbot.sessions.empty_reply import EmptyReplyDetector
from acpbot.sessions.launch import Profile, describe_exit, launch, start_error
from acpbot.sessions.open_tool_calls import OpenToolCalls
from acpbot.sessions.options import Options
from acpbot.sessions.output import OutputRing
from acpbot.sessions.permission_requests import PermissionRequests
from acpbot.sessions.process_tree import process_tree, totals
from acpbot.sessions.session_row import members
from acpbot.sessions.terminate import TerminationResult, terminate
from acpbot.sessions.turn import PermissionRequest, Turn, TurnEnd, end_of
from acpbot.sessions.turn_queue import TurnQueue
from acpbot.sessions.views import Detail, ProcessRow, Row, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acpbot.acp.agent import Agent
    from acpbot.acp.connection import Item
    from acpbot.runtimes.runtime import AgentProcess, Launcher, Usage
    from acpbot.sessions.observer import Limits, Reason, SessionObserver
    from acpbot.sessions.thread import Thread, Workspace

log = get_logger(__name__)

# A leader that has exited said all it will; where reading was paused, that much time is left to take it in.
_LAST_WORDS_SECONDS: Final = 0.25
# Some agents send an update more after a prompt's answer; where the next turn already waits, it waits that long.
_SETTLE_SECONDS: Final = 0.05


class Session:
    """A generation of a thread's conversation; ``session_id`` is never reused.

    Made in state ``starting``; :meth:`open` starts it. All methods belong to the event loop's thread.
    """

    def __init__(
        self,
        thread: Thread,
        *,
        profile: Profile,
        launcher: Launcher,
        workspace: Workspace,
        limits: Limits,
        home: SessionObserver,
        clock: Callable[[], float],
    ) -> None:
        self.thread = thread
        self.session_id = secrets.token_hex(8)
        self.agent: Agent | None = None
        self.process: AgentProcess | None = None
        self.usage: Usage | None = None
        self.output = OutputRing(thread.thread_id, self.session_id)
        self.turn: Turn | None = None
        self.options = Options()
        self.idle_since = clock()
        self.doubt = EmptyReplyDetector()
        self.returned: Turn | None = None
        """The turn that it gave back to its queue, for the session after it."""
        self._profile = profile
        self._launcher = launcher
        self._workspace = workspace
        self._limits = limits
        self._observer = home
        self._clock = clock
        self._queue = TurnQueue(limits.max_queued)
        self.asks = PermissionRequests(
            prefix=self.session_id,
            policy=limits.policy,
            seconds=limits.permission_seconds,
            answer=self._answer,
            closed=self._ask_closed,
        )
        self._calls = OpenToolCalls(clock)
        self._turn_since = 0.0
        self._heard_at = 0.0
        self._turn_over = asyncio.Event()
        self._answered: TurnEnd | None = None
        self._opened = False
        self._gone = False
        self._life: asyncio.Task[None] | None = None
        self._helpers: set[asyncio.Task[None]] = set()
        self._end_task: asyncio.Task[TerminationResult] | None = None

    # What is seen from outside.

    @property
    def state(self) -> State:
        """One of DESIGN section 3; derived, so that it can't drift from what is."""
        if self._gone:
            return "gone"
        if self._end_task is not None:
            return "closing"
        if not self._opened:
            return "starting"
        if self.turn is None:
            return "idle"
        if self.asks.all():
            return "waiting"
        return "stuck" if self._is_stuck else "busy"

    @property
    def _is_stuck(self) -> bool:
        """Silent too long; a running tool counts as activity up to the limit that the agent itself gave it."""
        return self.silent_seconds >= self._limits.stuck_after_seconds and not self._calls.within_limit

    @property
    def evictable(self) -> bool:
        """Whether nothing would be interrupted by ending it."""
        return self.state == "idle" and not len(self._queue)

    @property
    def silent_seconds(self) -> float:
        """Since the agent last said anything in this turn."""
        return self._clock() - self._heard_at

    @property
    def turn_seconds(self) -> float:
        """Since the running turn's prompt was sent."""
        return self._clock() - self._turn_since

    def seconds_since(self, moment: float) -> float:
        """Since a moment of the session's clock."""
        return self._clock() - moment

    @property
    def queued(self) -> int:
        """How many turns wait, the running one left out."""
        return len(self._queue)

    @property
    def activity(self) -> str | None:
        """The title of the tool that started last and still runs."""
        return self._calls.activity

    def row(self) -> Row:
        """A snapshot."""
        return Row(**members(self))

    async def detail(self) -> Detail:
        """A snapshot with stderr, open tool calls and the process tree as they are now."""
        process = self.process
        tree: list[ProcessRow] = []
        if process is not None:
            tree = process_tree(await process.look())
        stderr = [] if process is None else process.stderr.lines()
        known = members(self) | totals(tree)
        return Detail(**known, stderr=stderr, tool_calls=self._calls.rows(), process_tree=tree)

    # Turns.

    def submit(self, turn: Turn) -> int:
        """Queue a turn; how many are before it. Raises TooMany when the queue is full."""
        before = self._queue.put(turn, busy=self.turn is not None)
        self._changed()
        return before

    def take_over(self, turns: Sequence[Turn], retried: Turn | None) -> None:
        """Queue, before all others, what the session before this one left; ``retried`` of them it gave back."""
        self._queue.put_first(turns)
        self.doubt.retried = retried
        self._changed()

    def withdraw(self, key: str) -> bool:
        """Take a queued turn back, by its key; whether there was one."""
        turn = self._queue.find(key)
        if turn is None:
            return False
        self._queue.remove(turn)
        turn.finish(TurnEnd("cancelled"))
        self._changed()
        return True

    def refuse_queued(self, reason: str) -> None:
        """End the turns that wait with an error, which says why."""
        for turn in self._queue.clear():
            turn.finish(TurnEnd("error", reason))
        self._changed()

    def revise(self, key: str, blocks: list[dict[str, Any]], text: str) -> Turn | None:
        """Replace what a queued turn asks for, by its key; ``None`` where there is none."""
        turn = self._queue.find(key)
        if turn is not None:
            turn.blocks, turn.text = blocks, text
        return turn

    def cancel(self) -> bool:
        """Ask the agent to stop the running turn; whether there was one. Open permissions are answered `cancelled`."""
        turn = self.turn
        if turn is None or self.agent is None:
            return False
        if turn.cancelled_at is None:
            turn.cancelled_at = self._clock()
        if turn.prompt_id is not None:
            # In this order, as ACP has it: an agent whose permission is answered first goes on with the turn.
            self.agent.cancel()
            self.asks.cancel_all()
        return True

    async def choose(self, category: str, value: str) -> None:
        """Set ``mode``, ``model`` or a config option; it is kept for the thread's next session.

        Raises Conflict (still starting, or ending), InvalidParams, AgentRefused, AgentTimeout, AgentGone.
        """
        if self.agent is None or not self._opened or self._end_task is not None:
            raise Conflict(f"cannot set {category} now: the session is {self.state}; try again in a moment")
        await self.options.choose(self.agent, category, value)
        self.thread.chosen[category] = value
        self._changed()

    # Its life.

    def open(self, after: Sequence[asyncio.Task[Any]] = ()) -> None:
        """Start living; ``after``: what must be over before, as the ends of those whose place this one takes."""
        self._life = asyncio.create_task(self._live(after), name=f"session {self.session_id}")

    async def _live(self, after: Sequence[asyncio.Task[Any]]) -> None:
        try:
            if after:
                await asyncio.wait(after)
            await self._start()
        except AcpbotError as error:
            self._die("start_failed", str(error))
            return
        except Exception as error:
            log.exception("session_start_crashed", **self._fields())
            self._die("start_failed", f"cannot start the agent: internal error ({type(error).__name__}), see the log")
            return
        self._opened = True
        self.idle_since = self._clock()
        log.info("session_opened", **self._fields())
        while True:
            self._changed()
            await self._queue.more()
            await self._run(self._queue.pop())
            if len(self._queue):
                await asyncio.sleep(_SETTLE_SECONDS)

    async def _start(self) -> None:
        thread = self.thread
        self._workspace.make(thread.cwd)
        self.process, self.agent = await launch(self._launcher, self._profile, thread.cwd, self.session_id)
        self.process.stderr.listener = self._stderr
        self._help(self._pump(self.agent))
        self._help(self._watch_exit(self.agent, self.process))
        self._observer.session_launched(self)
        self._changed()
        try:
            await self.agent.initialize()
            opened = await self.agent.open(thread.cwd, thread.acp_session_id)
        except AgentError as error:
            raise await start_error(self._profile, self.process, error) from None
        self.doubt.reopened = opened != "new"
        if thread.acp_session_id is not None and opened == "new":
            self._observer.session_afresh(self)
        self.options.opened(self.agent.session)
        await self.options.restore(self.agent, thread.chosen)
        thread.acp_session_id = self.agent.session_id
        thread.resumable = self.agent.can_resume

    def _help(self, work: Any) -> None:
        task = asyncio.create_task(work, name=f"session {self.session_id} helper")
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)

    async def _watch_exit(self, agent: Agent, process: AgentProcess) -> None:
        await process.wait()
        if agent.paused:
            await asyncio.sleep(_LAST_WORDS_SECONDS)
        agent.close()

    async def _run(self, turn: Turn) -> None:
        agent = self.agent
        if agent is None:
            raise AssertionError("a turn runs only once the agent is there")
        self._turn_over.clear()
        self.doubt.spoke = False
        self._turn_since = self._heard_at = self._clock()
        turn.prompt_id = None
        self.turn = turn
        await self._observer.turn_starting(turn)
        if turn.cancelled_at is not None:
            self._turn_ended(TurnEnd("cancelled"))
            return
        try:
            fitting = turn.blocks if turn.fit is None else turn.fit(turn.blocks, agent.capabilities.prompt_capabilities)
            turn.prompt_id = agent.prompt(fitting)
        except AgentError as error:
            if isinstance(error, AgentGone) and turn is not self.doubt.retried:
                self._give_back(turn)
            else:
                self._turn_ended(TurnEnd("error", str(error)))
            self._die("crashed", str(error))
            return
        except Exception as error:
            # A prompt that can't be made costs its turn, not the thread all that come after it.
            log.exception("prompt_crashed", **self._fields())
            told = f"cannot send this message to the agent: internal error ({type(error).__name__}), see the log"
            self._turn_ended(TurnEnd("error", told))
            return
        if not turn.started:
            turn.started = True
            turn.listener.on_started()
        self._changed()
        await self._turn_over.wait()

    def _give_back(self, turn: Turn) -> None:
        self.turn = None
        self.returned = turn
        self._queue.put_first([turn])

    def _turn_ended(self, end: TurnEnd) -> None:
        turn, self.turn = self.turn, None
        if turn is None:
            return
        self.doubt.turn_ended(turn)
        self.asks.cancel_all()
        self._calls.clear()
        self.output.flush()
        self.thread.turns += 1
        self.idle_since = self._clock()
        self._turn_over.set()
        turn.finish(end)
        self._changed()

    def end(
        self, reason: Reason, *, grace: float | None = None, detail: str | None = None
    ) -> asyncio.Task[TerminationResult]:
        """Begin to end the session, whatever it does now; the task gives how it went. Asked twice: one end."""
        if self._end_task is None:
            seconds = self._limits.grace_seconds if grace is None else grace
            self._end_task = asyncio.create_task(self._end(reason, seconds, detail), name=f"end {self.session_id}")
            self._observer.session_ending(self)
            self._changed()
        return self._end_task

    async def _end(self, reason: Reason, grace: float, detail: str | None) -> TerminationResult:
        fields = self._fields()
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])
        if self.turn is not None and self.turn.prompt_id is None:
            self._queue.put_first([self.turn])  # the agent has not heard of it
            self.turn = None
        self.asks.cancel_all()
        ending = TerminationResult(reached=None, processes_ended=0, processes_left=0, seconds=0.0)
        if self.agent is not None and self.process is not None:
            over = None if self.turn is None or self.agent.closed else self._turn_over
            ending = await terminate(self.agent, self.process, grace=grace, turn_over=over)
        unanswered = TurnEnd("cancelled", detail) if reason == "killed" else TurnEnd("error", detail)
        self._turn_ended(self._answered or unanswered)
        for task in tuple(self._helpers):
            task.cancel()
        queued = self._queue.clear()
        self._gone = True
        log.info("session_ended", **fields, reason=reason, **msgspec.to_builtins(ending))
        self._observer.session_ended(self, reason, detail, queued)
        return ending

    def _die(self, reason: Reason, detail: str) -> None:
        if self._end_task is None:
            log.warning("session_died", **self._fields(), reason=reason, detail=detail)
            alive = self.process is not None and self.process.alive
            self.end(reason, grace=None if alive else 0.0, detail=detail)

    # What the agent says.

    def _stderr(self, lines: list[str]) -> None:
        for line in lines:
            self.output.line("stderr", line)

    async def _pump(self, agent: Agent) -> None:
        try:
            while True:
                for item in await agent.next_batch():
                    if isinstance(item, Closed):
                        await self._mourn()
                        return
                    self._take(item)
        except Exception as error:
            # Without its reader the session would hang for good, and so would its thread.
            log.exception("session_pump_crashed", **self._fields())
            agent.close()
            self._die("crashed", f"cannot go on: internal error ({type(error).__name__}), see the log")

    def _take(self, item: Item) -> None:
        match item:
            case schema.Update():
                self._update(item)
            case PermissionAsked():
                self._asked(item)
            case RequestCancelled():
                self.asks.withdraw(item.request_id)
            case PromptEnded():
                self._prompt_ended(item)

    def _update(self, update: schema.Update) -> None:
        self._heard_at = self._clock()
        ours = None if self.agent is None else self.agent.session_id
        if ours is not None and update.session_id != ours:
            return  # a sub-agent's words are not this conversation's
        if update.kind not in schema.CONTENT_KINDS:
            self._session_update(update)
        else:
            self.doubt.spoke = True
        if self.turn is None or self.turn.prompt_id is None:
            return
        if update.kind in {"tool_call", "tool_call_update"}:
            self._tool_update(update.body)
        elif update.kind == "agent_message_chunk":
            self.output.text(schema.chunk_text(update.body))
        self.turn.listener.on_update(update)

    def _session_update(self, update: schema.Update) -> None:
        self.options.take(update)
        if update.kind == "session_info_update" and isinstance(title := update.body.get("title"), str) and title:
            self.thread.title = title[:200]
        self._changed()

    def _tool_update(self, body: dict[str, Any]) -> None:
        before = self._calls.activity
        line = self._calls.take(body)
        if line is not None:
            self.output.line("tool", line)
        if line is not None or self._calls.activity != before:
            self._changed()

    def _asked(self, asked: PermissionAsked) -> None:
        self._heard_at = self._clock()
        self.doubt.spoke = True
        turn = self.turn
        refuse = turn is None or turn.prompt_id is None or turn.cancelled_at is not None or self._end_task is not None
        ask = self.asks.take(asked, refuse=refuse)
        if ask is not None and turn is not None:
            turn.listener.on_permission_request(ask)
            self._changed()

    def _answer(self, ask: PermissionRequest, option: schema.PermissionOption | None) -> None:
        self._heard_at = self._clock()
        if self.agent is not None:
            self.agent.answer_permission(ask.asked.request_id, permissions.outcome(option))

    def _ask_closed(self, ask: PermissionRequest) -> None:
        if self.turn is not None:
            self.turn.listener.on_permission_resolved(ask)
            self._changed()

    def _prompt_ended(self, ended: PromptEnded) -> None:
        if self.turn is None or self.turn.prompt_id != ended.request_id:
            log.info("late_answer_dropped", **self._fields())
            return
        if self._end_task is not None:
            # What becomes of the session is told in the step in which the turn is over, lest a crash tell half of it.
            self._answered = end_of(self.turn, ended)
            self._turn_over.set()
        elif self.doubt.should_retry(self.turn, ended, self.turn_seconds):
            self._replace(self.turn)
        else:
            self._turn_ended(end_of(self.turn, ended))

    def _replace(self, turn: Turn) -> None:
        log.warning("session_replaced", **self._fields())
        if turn is self.doubt.retried:
            self.thread.acp_session_id = None  # spoilt in a new process too: only a new session can help
            self._observer.session_afresh(self)
        self._give_back(turn)
        self.end("replaced")

    async def _mourn(self) -> None:
        if self._end_task is not None:
            self._turn_over.set()  # the running prompt's answer won't come: nothing to wait for
        elif self._opened and self.process is not None:
            self._die("crashed", f"cannot go on: the agent {await describe_exit(self.process)}")

    def _changed(self) -> None:
        self._observer.session_changed(self)

    def _fields(self) -> dict[str, Any]:
        return {"thread": self.thread.thread_id, "session": self.session_id, "agent": self.thread.agent}
