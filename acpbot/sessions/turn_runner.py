"""The turns of one session: those that wait, the one that runs, and what the agent says in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from acpbot.acp import permissions, schema
from acpbot.acp.connection import (
    ElicitationAsked,
    ElicitationCompleted,
    PermissionAsked,
    PermissionUnreadable,
    PromptEnded,
    RequestCancelled,
)
from acpbot.errors import SOMETHING_WRONG, AgentError, AgentGone, internal_error
from acpbot.logs import get_logger
from acpbot.sessions.after_turn import AfterTurn
from acpbot.sessions.open_tool_calls import OpenToolCalls, nothing_known
from acpbot.sessions.options import Options
from acpbot.sessions.paragraphs import Paragraphs
from acpbot.sessions.permission_notes import PermissionNotes
from acpbot.sessions.permission_requests import PermissionRequests
from acpbot.sessions.prompt_sign_in import PromptSignIn
from acpbot.sessions.questions import Question, Questions
from acpbot.sessions.replay import Replay
from acpbot.sessions.settling import Settling
from acpbot.sessions.titles import Titles
from acpbot.sessions.turn import PermissionNote, PermissionRequest, Turn, TurnEnd, cancelled, end_of, failed, refusal_of
from acpbot.sessions.turn_facts import facts_of, is_at_once, prompt_of
from acpbot.sessions.turn_queue import TurnQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from acpbot.acp.agent import Agent
    from acpbot.acp.connection import Item
    from acpbot.config.in_force import SettingsInForce
    from acpbot.sessions.output import OutputRing
    from acpbot.sessions.pauses import Pauses
    from acpbot.sessions.turn import TurnListener
    from acpbot.storage.records import ThreadRecord

log = get_logger(__name__)


class TurnRunner(TurnQueue):
    """Runs turns in one agent, one after the other.

    The running turn is in :attr:`turn`, those that wait in :attr:`queue`. All methods belong to the event loop's thread
    and only :meth:`run` waits for the agent.

    ``on_change``: something that the session's row shows has changed. ``on_starting`` is awaited before a prompt is
    sent. ``on_failure``: the agent can't be prompted any more, for this reason. ``on_empty_reply``: this turn should be
    tried by another session. A prompt that ends empty right after a cancel is tried once more in a new process that
    resumes the conversation, and if it ends empty there too, in a new conversation: so at most twice.
    ``on_permission_note``: acpbot has answered a permission request by itself while no turn ran that could show it.
    ``on_permission_record``: the same for the log and the audit, whether a turn runs or not. ``unprompted`` makes a
    listener for what the agent does while no turn runs.
    """

    def __init__(
        self,
        thread: ThreadRecord,
        output: OutputRing,
        settings: SettingsInForce,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        on_change: Callable[[], None],
        on_starting: Callable[[Turn], Awaitable[None]],
        on_failure: Callable[[AgentError], None],
        on_empty_reply: Callable[[Turn], None],
        on_permission_note: Callable[[PermissionNote], None],
        on_permission_record: Callable[[PermissionNote], None],
        unprompted: Callable[[], TurnListener | None],
        pauses: Pauses,
    ) -> None:
        super().__init__(settings, on_change)
        self.agent: Agent | None = None
        self.options = Options()
        self.calls = OpenToolCalls(clock)
        self.output = output
        self.permission_requests = PermissionRequests(
            settings,
            prefix=output.session_id,
            wall=wall,
            answer=self._answer,
            on_closed=self._closed,
        )
        self.questions = Questions(
            settings, prefix=output.session_id, wall=wall, send=self._answer_question, on_closed=self._closed
        )
        self.permission_notes = PermissionNotes(self._show_permission_note, on_permission_record)
        self.idle_since = clock()
        self.over = asyncio.Event()
        """Set when the running prompt has been answered, or can't be answered any more."""
        self.ending = False
        """Set when the session ends: the answer to the running prompt is then kept in :attr:`answer`."""
        self.answer: TurnEnd | None = None
        self.reopened = False
        """Whether an earlier process began the ACP session."""
        self._fields = {"thread": thread.thread_id, "session": output.session_id, "agent": thread.agent}
        self._thread = thread
        self._clock = clock
        self._wall = wall
        self._on_starting = on_starting
        self._on_failure = on_failure
        self._on_empty_reply = on_empty_reply
        self._on_permission_note = on_permission_note
        self.titles = Titles()
        self._paragraphs = Paragraphs()
        self._settling = Settling(pauses.settle, self.end)
        self._replay = Replay(pauses, self._deliver)
        self._sign_in = PromptSignIn(thread.agent, self.end)
        self._after = AfterTurn(
            self.output, pauses, clock=clock, listener=unprompted, notice=self._show_permission_note
        )
        self._started_at = self._heard_at = 0.0
        self._has_content = False
        self._cancelled_before = False

    @property
    def turn_seconds(self) -> float:
        """Since the running turn left the queue; its prompt is sent once the database holds it."""
        return self._clock() - self._started_at

    @property
    def silent_seconds(self) -> float:
        """Since the agent's last message in this turn."""
        return self._clock() - self._heard_at

    @property
    def is_stuck(self) -> bool:
        """Silent too long; a running tool counts as activity up to the limit that the agent itself gave it."""
        return self.silent_seconds >= self._settings.now.pool.stuck_after_seconds and not self.calls.within_limit

    # The running turn.

    async def run(self, agent: Agent) -> None:
        """Run the turns that come, one after the other, until cancelled."""
        while True:
            self._on_change()
            while self.ending or not self.queue:
                await self._more.wait()
            turn = self.queue[0]
            if not await self._may_run(turn):
                continue
            self.queue.popleft()
            await self._run_turn(agent, turn)

    async def _may_run(self, turn: Turn) -> bool:
        """Whether the first turn that waits may run now; one that its check refuses is ended here."""
        refusal = await refusal_of(turn)
        is_first = bool(self.queue) and self.queue[0] is turn  # it may have been withdrawn meanwhile
        if refusal is not None and is_first:
            self.queue.popleft().finish(TurnEnd("error", refusal))
        return refusal is None and is_first

    async def _run_turn(self, agent: Agent, turn: Turn) -> None:
        self.over.clear()
        self._has_content = False
        self._paragraphs = Paragraphs()
        self._started_at = self._heard_at = self._clock()
        turn.prompt_id = None
        self.permission_notes.flush()
        self._after.turn_starts()
        self.calls.clear()
        self.turn = turn
        self._on_change()
        try:
            await self.options.hold_mode(agent)
        except AgentError as error:
            self._not_sent(turn, error)
            return
        await self._on_starting(turn)
        try:
            blocks = await prompt_of(turn, agent, self.options)
            await self._replay.wait_until_quiet()
            if turn.cancelled_at is not None:
                self.end(cancelled(turn))
                return
            self._after.finish()
            turn.prompt_id = agent.prompt(blocks)
            self.output.prompt(turn.text)
            self._replay.prompted()
            self.titles.sent(blocks)
        except AgentError as error:
            self._not_sent(turn, error)
            return
        except Exception as error:
            # A prompt that can't be made costs its own turn, not all that come after it in the thread.
            log.exception("prompt_crashed", **self._fields)
            self.end(TurnEnd("error", SOMETHING_WRONG, detail=internal_error("send this message to the agent", error)))
            return
        if not turn.started:
            turn.started = True
            turn.listener.on_started()
        self._on_change()
        await self.over.wait()
        try:
            if await self._sign_in.repeat(agent, blocks, self.over):
                await self.over.wait()
        except AgentError as error:
            self._not_sent(turn, error)

    def _not_sent(self, turn: Turn, error: AgentError) -> None:
        """The running turn could not be sent, and the session fails: another one runs it where its agent was gone."""
        if isinstance(error, AgentGone) and turn is not self.retried:
            self.give_back(turn)
        else:
            self.end(failed(error))
        self._on_failure(error)

    def cancel(self, reason: str | None = None, by: str | None = None) -> bool:
        """Ask the agent to stop the running turn; open requests are answered `cancelled`. Whether there was any of it.

        ``reason``: a sentence for people about a turn that nobody cancelled; ``by``: who did. The first cancel's hold.
        """
        turn = self.turn
        if turn is None or self.agent is None:
            return self._after.cancel(self.permission_requests, self.questions)
        if self._settling.active:
            self._settling.finish()
            return False
        if turn.cancelled_at is None:
            turn.cancelled_at, turn.cancel_reason, turn.cancelled_by = self._clock(), reason, by
        if turn.prompt_id is not None:
            self.agent.cancel()  # first, as ACP has it: an agent whose request is answered goes on with the turn
            self.answer_requests()
        return True

    def answer_requests(self, but: Mapping[str, Any] | None = None) -> None:
        """Answer the open requests `cancelled`, except those with these ids."""
        self.permission_requests.cancel_all(but or ())
        self.questions.cancel_all(but)

    def interrupt(self, by: str | None) -> bool:
        """As :meth:`TurnQueue.interrupt`. A turn that is being cancelled stays as it is."""
        turn = self.turn
        if turn is None or turn.cancelled_at is not None or self.ending:
            return False
        turn.interrupted = self.cancel(by=by)
        return turn.interrupted

    def end(self, end: TurnEnd) -> None:
        """End the running turn, if there is one."""
        turn = self.turn
        if turn is None:
            return
        self._replay.release()
        self._settling.cancel()
        self.permission_notes.flush()
        self.answer_requests(self._after.asked)
        self.turn = None
        self._cancelled_before = turn.cancelled_at is not None or (self._cancelled_before and not self._has_content)
        self.calls.clear()
        self.output.turn_ended(end)
        self._thread.turns += 1
        self._thread.used_at = self._wall()
        self.idle_since = self._clock()
        self.over.set()
        turn.finish(msgspec.structs.replace(end, facts=facts_of(self._thread.agent, self.options, self.turn_seconds)))
        self.options.usage.settle()
        self._on_change()

    # What the agent says.

    def handle(self, item: Item) -> None:
        """Handle one message of the agent."""
        match item:
            case schema.Update():
                self._update(item)
            case PermissionAsked():
                self._permission_asked(item)
            case PermissionUnreadable():
                log.warning("permission_unreadable", **self._fields, reason=item.reason)
                self.permission_notes.unreadable()
            case RequestCancelled():
                self.permission_requests.withdraw(item.request_id)
                self.questions.withdraw(item.request_id)
            case ElicitationAsked():
                turn, refuse = self._people_to_ask()
                self._ask(self.questions.add(item, refuse=refuse), turn)
            case ElicitationCompleted():
                self.questions.completed(item.elicitation_id)
            case PromptEnded():
                self._prompt_ended(item)

    def _update(self, update: schema.Update) -> None:
        self._heard_at = self._clock()
        if self.permission_requests.open and update.kind in {"tool_call", "tool_call_update"}:
            self.permission_requests.tool_changed(update)
        own = None if self.agent is None else self.agent.session_id
        if own is not None and update.session_id != own:
            return  # a sub-agent's updates are not part of this conversation
        if update.kind in schema.CONTENT_KINDS:
            if own is None or self._replay.takes(update):
                return
        else:
            self.options.handle(update)
            if update.kind == "session_info_update" and isinstance(title := update.body.get("title"), str):
                self._thread.title = self.titles.usable(title, self._thread.title) or self._thread.title
            self._on_change()
        self._deliver(update)

    def _deliver(self, update: schema.Update) -> None:
        """Show an update where it belongs: in the running turn, else outside of it."""
        if self.turn is None or self.turn.prompt_id is None:
            if update.kind in {"tool_call", "tool_call_update"}:
                self._tool_update(update)
            if update.kind in schema.CONTENT_KINDS:
                self.idle_since = self._clock()
                self._after.update(update)
            return
        if update.kind in schema.CONTENT_KINDS:
            self._has_content = True
            self._settling.heard()
        if update.kind in {"tool_call", "tool_call_update"}:
            self._tool_update(update)
        elif update.kind == "plan":
            self._acted()
        for piece in self._paragraphs.pieces(update) if update.kind == "agent_message_chunk" else (update,):
            self.output.update(piece)
            self.turn.listener.on_update(piece)

    def _acted(self) -> None:
        """The agent does something else than to write: its text so far is a paragraph by itself."""
        self._paragraphs.acted()
        self._after.acted()
        self.output.flush()

    def _tool_update(self, update: schema.Update) -> None:
        before = self.calls.activity
        if self.calls.begins(update):
            self._acted()
        line = self.calls.handle(update.body, cut=update.cut)
        if line is not None:
            self.output.line("tool", line)
        if line is not None or self.calls.activity != before:
            self._on_change()

    def _people_to_ask(self) -> tuple[Turn | None, bool]:
        """The turn whose listener asks people something now, if there is one, and whether nobody is to be asked."""
        self._heard_at = self._clock()
        self._replay.release()
        self._settling.finish()
        turn = None if self.turn is None or self.turn.prompt_id is None else self.turn
        if turn is None:
            refuse = self.ending or not self._after.may_ask()
        else:
            self._has_content = True
            refuse = self.ending or turn.cancelled_at is not None
        self._acted()
        return turn, refuse

    def _permission_asked(self, asked: PermissionAsked) -> None:
        turn, refuse = self._people_to_ask()
        own = self.agent is not None and asked.params.session_id == self.agent.session_id
        known = self.calls.get if own else nothing_known
        self._ask(self.permission_requests.add(asked, known, owner=turn.asker if turn else None, refuse=refuse), turn)

    def _ask(self, request: PermissionRequest | Question | None, turn: Turn | None) -> None:
        if request is None:
            return
        self.output.asked(request)
        if turn is None:
            self._after.ask(request)
        else:
            request.show_in(turn.listener)
        self._on_change()

    def _answer_question(self, question: Question) -> None:
        self._heard_at = self._clock()
        if self.agent is not None:
            self.agent.answer_elicitation(question.request_id, question.reply())
        self.permission_notes.question_answered(question)

    def _answer(self, request: PermissionRequest, option: schema.PermissionOption | None) -> None:
        self._heard_at = self._clock()
        if self.agent is not None:
            self.agent.answer_permission(request.asked.request_id, permissions.outcome(option))
        self.permission_notes.answered(request)

    def _show_permission_note(self, note: PermissionNote) -> None:
        self.output.line("notice", f"{note.text}.")  # readers see it, so without the action
        if self.turn is None or self.turn.prompt_id is None:
            self._on_permission_note(note)
            return
        try:
            self.turn.listener.on_permission_note(note)
        except Exception:
            # The answer to a permission request comes through here: a listener's defect must not stop it.
            log.exception("turn_listener_failed", turn=self.turn.turn_id)

    def _closed(self, request: PermissionRequest | Question) -> None:
        self.output.answered(request)
        try:
            if not self._after.closed(request) and self.turn is not None:
                request.show_end_in(self.turn.listener)
        except Exception:
            # A turn's end comes through here: a listener's defect must not stop it.
            log.exception("turn_listener_failed", request=request.request)
        self._on_change()

    def _prompt_ended(self, ended: PromptEnded) -> None:
        turn = self.turn
        self._replay.release()
        if turn is None or turn.prompt_id != ended.request_id or self._settling.active:
            log.info("late_answer_dropped", **self._fields)
        elif self.ending:
            # The turn ends in the same step of the loop as its session, so that a crash can't separate the two.
            self.answer = end_of(turn, ended)
            self.over.set()
        elif self._sign_in.takes(turn, ended, has_content=self._has_content):
            self.over.set()
        elif self._should_retry(turn, ended):
            self._on_empty_reply(turn)
        else:
            self._settling.begin(end_of(turn, ended))

    def stop(self) -> None:
        """The session begins to end: a turn that is answered ends now, and so does a message outside turns."""
        self.ending = True
        self._settling.finish()
        self._after.finish()

    def opened(self, *, reopened: bool) -> None:
        """The ACP session is open; ``reopened``: an earlier process began it."""
        self.reopened = reopened
        if reopened:
            self._replay.reopened()

    def _should_retry(self, turn: Turn, ended: PromptEnded) -> bool:
        """Whether the agent answers every prompt empty: so does this one, after a cancel or again after a retry."""
        is_suspect = self._cancelled_before or (self.reopened and turn is self.retried)
        is_empty = not self._has_content and turn.cancelled_at is None
        return is_suspect and is_empty and is_at_once(ended, self.turn_seconds)
