"""From a person's message to a turn, and from its updates to a live message: the same for every platform."""

from __future__ import annotations

import contextlib
import secrets
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp import schema
from acpbot.acp.content import attachments
from acpbot.acp.error_text import repeats
from acpbot.chat.followed_turn import FollowedTurn
from acpbot.chat.platform import IncomingMessage
from acpbot.chat.rendering.answer import Answer
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.chat.rendering.markdown import code
from acpbot.chat.rendering.tools import detail, todos, within
from acpbot.chat.thread_commands import next_text
from acpbot.errors import WireError
from acpbot.logs import get_logger
from acpbot.sessions.ending import SUSPENDED
from acpbot.sessions.titles import CONTEXT_TAG
from acpbot.sessions.turn import DEFERRED, NOT_SIGNED_IN, Turn
from acpbot.times import long_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from acpbot.acp.schema import Update
    from acpbot.chat.followed_turn import TurnFollower
    from acpbot.chat.platform import ChatPlatform, TurnView
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.questions import Question
    from acpbot.sessions.turn import PermissionNote, PermissionRequest, TurnEnd
    from acpbot.sessions.views import Reason

log = get_logger(__name__)

_INCOMING: Final = msgspec.json.Decoder(IncomingMessage)
CONTEXT_URI: Final = f"acpbot:///{CONTEXT_TAG}"
"""Of the resource that holds the context of a message."""
_ACTION_MAX: Final = 150
_PLANS_MAX: Final = 64
TEXT_LIMIT: Final = 1024 * 1024
"""Characters of one answer."""
MOVED: Final = "The agent now runs in another place, so it may not know the earlier conversation."
AFRESH: Final = "I couldn't restore the earlier conversation, so I'm starting fresh without its context."
INTERRUPTED: Final = "⚠️ I was restarted mid-answer, so this one is incomplete."
UNREADABLE: Final = "⚠️ A queued message was lost in the restart. Please resend it."
INCOMPLETE: Final = (
    "😱 Something went wrong on my side: the answer to this message may be incomplete. An admin can check the log."
)
FILES_NOT_SENT: Final = "Skipped the attached files: the agent's commands don't take any."
REPORTED: Final = "The agent reported this error."
"""Where the answer itself says which one."""
_SILENT: Final = frozenset({"evicted", "expired"})


def end_text(reason: Reason, detail: str | None, *, resumable: bool) -> str | None:
    """Why a session has ended, and what the thread's next message does; ``None`` where no thread needs to know.

    ``detail`` is a sentence, or an error ('cannot ...') where operators read it.
    """
    if reason in _SILENT:
        return None
    if detail == NOT_SIGNED_IN:
        return detail
    sentence = detail or SUSPENDED
    if sentence.startswith("cannot "):
        sentence = f"{sentence[:1].upper()}{sentence[1:]}."
    what_next = "Send a message to try again." if reason == "start_failed" else next_text(resumable=resumable)
    return f"{sentence} {what_next}"


def stuck_text(activity: str | None, seconds: float) -> str:
    """What a thread reads about an agent that has been silent for too long."""
    running = f"; still running {activity}" if activity else ""
    return f"No output for {long_duration(seconds)}{running}. Wait, or stop it with /cancel."


def choice_dropped_text(category: str, value: str) -> str:
    """What a thread reads about a choice that the agent did not take again."""
    return f"I couldn't set the agent's {category} to {value} again, so it uses its default."


def option_not_set_text(option: str, value: str) -> str:
    """What a thread reads about an option of the configuration that the agent does not take."""
    return f"The agent doesn't accept {value} as its {option}, so it uses its default. An admin can change that."


def agent_removed_text(agent: str) -> str:
    """What a thread reads whose agent is no longer in the configuration."""
    return f"An admin removed the agent {agent}. It works here until I restart; pick another one with /agent."


def removal_text(seconds: float) -> str:
    """What a thread reads before its folder is deleted."""
    return (
        f"If nobody writes here in the next {long_duration(seconds)}, I'll forget this conversation and delete its "
        "folder with all the files in it. Push or copy anything you want to keep."
    )


def note_text(note: PermissionNote) -> str:
    """One line about a permission request that acpbot has answered by itself."""
    return f"🔐 {note.text}: {code(note.action, _ACTION_MAX)}" if note.action else f"🔐 {note.text}."


class Conversation:
    """One turn: listens to the session, keeps the answer, and has a view show it.

    A defect in the live message or the view costs at most what it was about: the turn goes on, and the thread reads at
    the turn's end that its answer may be incomplete. ``on_persisted`` as in :meth:`TurnView.on_ended`; ``report`` posts
    a sentence in the thread. ``live`` is the first live message of the :class:`Answer`, ``below`` makes the others.
    ``attaches_files``: the view attaches the agent's files, so the answer need not name them. ``folder``: where the
    agent works; people read paths as they are called there.
    """

    def __init__(
        self,
        view: TurnView,
        live: LiveMessage,
        on_persisted: Callable[[], None] = lambda: None,
        report: Callable[[str], None] = lambda _text: None,
        below: Callable[[int], LiveMessage] | None = None,
        *,
        attaches_files: bool = False,
        folder: Callable[[], str] = lambda: "",
    ) -> None:
        self.live = Answer(live, below)
        self._folder = folder
        self._attaches_files = attaches_files
        self._view = view
        self._on_persisted = on_persisted
        self._report = report
        self._budget = TEXT_LIMIT
        self._is_incomplete = False
        self._plans: deque[str] = deque(maxlen=_PLANS_MAX)  # ids of tool calls that are shown as a plan

    def on_started(self) -> None:
        """The prompt has been sent."""
        with self._guarded():
            self._view.on_started()

    def on_update(self, update: Update) -> None:
        """Add a piece of the answer and show it."""
        with self._guarded():
            self._add(update)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            # Broad: the agent works on, other pieces follow, and the session must go on. The first defect is logged.
            if not self._is_incomplete:
                self._is_incomplete = True
                log.exception("answer_incomplete")

    def _add(self, update: Update) -> None:
        body = update.body
        if update.kind == "agent_message_chunk":
            files = attachments(update.kind, body) if self._attaches_files else ()
            is_attached = any(file.data or update.cut for file in files)
            if update.cut and not is_attached:
                self.live.notice("Part of the answer was too long, so the end of that part is left out.")
            kept = "" if is_attached else schema.chunk_text(body)[: self._budget]
            if kept:
                self._budget -= len(kept)
                self.live.append(kept)
                if self._budget == 0:
                    self.live.notice(f"The answer was cut off at {TEXT_LIMIT:,} characters.")
        elif update.kind == "agent_thought_chunk":
            self.live.thought(schema.chunk_text(body))
        elif update.kind in {"tool_call", "tool_call_update"} and (call := schema.tool_call(body)) is not None:
            tasks = todos(body)
            if tasks is not None:
                # Some agents have a tool in place of ACP's plan.
                self._plans.append(call.tool_call_id)
                self.live.forget_tool(call.tool_call_id)
                self.live.plan(tasks)
            elif call.tool_call_id not in self._plans:
                folder = self._folder()
                title, about = within(call.title, folder), within(detail(body), folder)
                self.live.tool(call.tool_call_id, title=title, kind=call.kind, status=call.status, detail=about)
        elif update.kind == "plan" and isinstance(entries := body.get("entries"), list):
            self.live.plan([entry for entry in entries if isinstance(entry, dict)])
        self._view.on_update(self.live, update)

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """Show that a permission is wanted."""
        with self._guarded():
            self._tool_waits(ask, on=True)
        self._view.on_permission_request(ask)

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """Show that it is no longer."""
        with self._guarded():
            self._tool_waits(ask, on=False)
        self._view.on_permission_resolved(ask)

    def _tool_waits(self, ask: PermissionRequest, *, on: bool) -> None:
        if ask.tool_call_id is not None:
            self.live.tool_waits(ask.tool_call_id, on=on)

    def on_question(self, question: Question) -> None:
        """Show what the agent asks."""
        self._view.on_question(question)

    def on_question_closed(self, question: Question) -> None:
        """Show that it needs no answer any more."""
        self._view.on_question_closed(question)

    def on_permission_note(self, note: PermissionNote) -> None:
        """Show that acpbot has answered a permission request by itself."""
        self.live.notice(note_text(note))
        self._view.on_permission_note(self.live, note)

    def on_ended(self, end: TurnEnd) -> None:
        """Deliver the whole."""
        if end.stop_reason == DEFERRED:
            self._view.on_deferred()
            return
        if repeats(self.live.text, end.reason):
            end = msgspec.structs.replace(end, error=REPORTED)
        is_shown = False
        with self._guarded():
            self._view.on_ended(self.live, end, self._on_persisted)
            is_shown = True
        if not is_shown:
            self._on_persisted()
        if self._is_incomplete:
            self._report(INCOMPLETE)


class Conversations:
    """A platform's threads: turns people's messages into turns, and reports to threads what happens to their sessions.

    It is the pool's observer for the platform; a changed row is of interest to the platform alone.
    """

    def __init__(
        self,
        pool: Pool,
        platform: ChatPlatform,
        *,
        new_message: Callable[[int], LiveMessage] = lambda _full_bodies: LiveMessage(),
        attaches_files: bool = False,
    ) -> None:
        self._pool = pool
        self._attaches_files = attaches_files
        self._platform = platform
        self._new_message = new_message
        self.session_changed = platform.session_changed
        pool.attach(platform.platform, self, limits_people=platform.limits_people)

    def receive(
        self,
        incoming: IncomingMessage,
        *,
        recovered_turn: str | None = None,
        follower: TurnFollower | None = None,
        now: bool = False,
    ) -> int:
        """Queue a message as a turn; how many turns are before it. Raises as :meth:`Pool.submit`.

        ``recovered_turn``: the id that an earlier run of the daemon gave to the turn. ``follower`` gets its events too.
        ``now``: it goes before others that wait, and the running turn is cancelled for it.
        """
        turn_id = recovered_turn or secrets.token_hex(8)
        is_known = recovered_turn is not None and self._pool.thread(incoming.thread_id) is not None
        view = self._platform.turn_view(incoming)
        if follower is not None:
            view = FollowedTurn(view, follower)
        turn = Turn(
            _blocks(incoming),
            Conversation(
                view,
                self._new_message(0),
                partial(self._pool.store.turn_settled, turn_id),
                partial(self._platform.notice, incoming.thread_id),
                self._new_message,
                attaches_files=self._attaches_files,
                folder=partial(self._folder, incoming.thread_id),
            ),
            text=incoming.text,
            title=incoming.title,
            key=incoming.key,
            asker=incoming.owner or None,
            fit=partial(self._platform.adapt_blocks, incoming),
            command_alone=partial(self._command_alone, incoming),
            message=msgspec.json.encode(incoming),
            turn_id=turn_id,
            recovered=recovered_turn is not None,
            check=partial(self._platform.recheck, incoming, recovered=recovered_turn is not None),
            lost_access=partial(self._platform.lost_access, incoming),
            on_place=view.on_queued,
            now=now,
        )
        try:
            return self._pool.submit(
                incoming.thread_id,
                turn,
                platform=self._platform.platform,
                owner=incoming.owner or None,
                agent=None if is_known else incoming.agent,  # somebody may have changed it since
                channel=incoming.channel,
            )
        except BaseException:
            view.on_refused()
            raise

    def _folder(self, thread_id: str) -> str:
        """Where the thread's agent works; empty while none runs."""
        session = self._pool.get(thread_id)
        return "" if session is None else session.cwd

    def _command_alone(self, incoming: IncomingMessage, command: str) -> list[dict[str, Any]]:
        """The blocks of a prompt that is a command of the agent: most agents see it in no other prompt."""
        if incoming.blocks:
            self._platform.notice(incoming.thread_id, FILES_NOT_SENT)
        return [schema.text_block(command)]

    def recover(self) -> None:
        """Go on with the turns of an earlier run: report those that were interrupted, queue those that waited."""
        for record in self._pool.store.restored.turns:
            if record.platform != self._platform.platform:
                continue
            try:
                incoming = _INCOMING.decode(record.message)
            except msgspec.MsgspecError:
                log.exception("turn_unreadable", turn=record.turn_id, thread=record.thread_id)
                self._platform.notice(record.thread_id, UNREADABLE)
                self._pool.store.turn_settled(record.turn_id)
                continue
            thread = self._pool.thread(record.thread_id)
            if record.state == "running":
                text = f"{INTERRUPTED} {next_text(resumable=thread is not None and thread.resumable)}"
                self._platform.interrupted(incoming, text)
                self._pool.store.turn_settled(record.turn_id)
                continue
            try:
                self.receive(incoming, recovered_turn=record.turn_id)
            except WireError as error:
                self._platform.interrupted(incoming, self._platform.refusal_text(incoming, error))
                self._pool.store.turn_settled(record.turn_id)

    def revise(self, incoming: IncomingMessage, text: str, *, context: str | None = None) -> IncomingMessage | None:
        """Give a queued message another text, or other data; ``None`` where its turn has begun, or is gone."""
        kept = incoming.context if context is None else context
        revised = msgspec.structs.replace(incoming, text=text, context=kept)
        turn = self._pool.revise(incoming.thread_id, incoming.key, _blocks(revised), text)
        if turn is None:
            return None
        turn.message = msgspec.json.encode(revised)
        self._pool.store.turn_revised(turn.turn_id, turn.message)
        return revised

    def session_ended(self, thread_id: str, reason: Reason, detail: str | None, *, resumable: bool) -> None:
        """Post why in the thread, and what its next message does, unless that is of no interest."""
        shown = None if detail is None else self._platform.plain(detail)
        text = end_text(reason, shown, resumable=resumable)
        if text is not None:
            self._platform.notice(thread_id, text)

    def session_started_fresh(self, thread_id: str) -> None:
        """Post in the thread that the agent has forgotten the conversation."""
        self._platform.notice(thread_id, AFRESH)

    def session_moved(self, thread_id: str) -> None:
        """Post in the thread that the agent may have forgotten the conversation, and why."""
        self._platform.notice(thread_id, MOVED)

    def session_stuck(self, thread_id: str, activity: str | None, seconds: float) -> None:
        """Post in the thread which tool blocks."""
        shown = None if activity is None else code(activity)
        self._platform.notice(thread_id, stuck_text(shown, seconds))

    def choice_dropped(self, thread_id: str, category: str, value: str) -> None:
        """Post in the thread that its choice no longer holds."""
        self._platform.notice(thread_id, choice_dropped_text(code(category), code(value)))

    def agent_removed(self, thread_id: str, agent: str) -> None:
        """Post in the thread that it needs another agent."""
        self._platform.notice(thread_id, agent_removed_text(agent))

    def option_not_set(self, thread_id: str, option: str, value: str) -> None:
        """Post in the thread that the agent does not have what the configuration gives it."""
        self._platform.notice(thread_id, option_not_set_text(option, value))

    def unprompted(self, thread_id: str) -> Conversation:
        """What shows a text, or a permission request, of the agent while no turn runs."""
        view = self._platform.unprompted_view(thread_id)
        report = partial(self._platform.notice, thread_id)
        return Conversation(
            view,
            self._new_message(0),
            report=report,
            below=self._new_message,
            attaches_files=self._attaches_files,
            folder=partial(self._folder, thread_id),
        )

    def permission_answered(self, thread_id: str, note: PermissionNote) -> None:
        """Post in the thread that acpbot has answered a permission request by itself."""
        self._platform.notice(thread_id, note_text(note))

    def removal_planned(self, thread_id: str, folder: str, seconds: float) -> None:
        """Post in the thread when its folder is deleted."""
        log.info("removal_planned", thread=thread_id, folder=folder, seconds=seconds)
        self._platform.notice(thread_id, removal_text(seconds))


def _blocks(incoming: IncomingMessage) -> list[dict[str, Any]]:
    # The text first: some agents take the first text of a prompt as the title of the conversation.
    text = [schema.text_block(incoming.text)] if incoming.text else []
    context = [schema.resource_block(CONTEXT_URI, incoming.context)] if incoming.context else []
    return [*text, *incoming.blocks, *context]
