"""A message in, a turn, its updates, a live message out: the same for every platform."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp import schema
from acpbot.chat.platform import IncomingMessage
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.errors import WireError
from acpbot.logs import get_logger
from acpbot.sessions.turn import DEFERRED, Turn
from acpbot.times import long_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.schema import Update
    from acpbot.chat.platform import ChatPlatform, TurnView
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.turn import PermissionRequest, TurnEnd
    from acpbot.sessions.views import Reason

log = get_logger(__name__)

_INCOMING: Final = msgspec.json.Decoder(IncomingMessage)
TEXT_LIMIT: Final = 4 * 1024 * 1024
AFRESH: Final = "The agent could not pick the earlier conversation up again: it starts afresh and knows nothing of it."
INTERRUPTED: Final = "⚠️ acpbot was restarted in the middle of this answer, and the agent was stopped with it."
UNREADABLE: Final = "⚠️ acpbot was restarted and cannot read a message any more that waited here: send it again."
_UNTOLD: Final = frozenset({"evicted", "expired"})

_TOLD: Final = {
    "killed": "An operator ended this session.",
    "crashed": "The agent ended unexpectedly.",
    "start_failed": "The agent could not be started.",
    "stuck": "The agent did not finish in time, so its session was ended.",
    "stopped": "acpbot is stopping.",
}


def ending_words(reason: Reason, detail: str | None, *, resumable: bool) -> str | None:
    """What a thread is told of its session's end, and what its next message does; ``None``: nothing worth telling."""
    if reason in _UNTOLD:
        return None
    told = _TOLD[reason]
    if detail is not None and reason in {"crashed", "start_failed"}:
        # An error of ours says by itself what has not worked.
        told = f"{detail[:1].upper()}{detail[1:]}." if detail.startswith("cannot ") else f"{told[:-1]}: {detail}."
    return f"{told} {_following(resumable=resumable)}"


def _following(*, resumable: bool) -> str:
    return f"Your next message {'picks the conversation up again' if resumable else 'starts a new one'}."


def stuck_words(activity: str | None, seconds: float) -> str:
    """What a thread is told of an agent that has been silent too long."""
    blocked = f" It is waiting for: {activity}." if activity else ""
    return f"The agent has said nothing for {_minutes(seconds)}.{blocked} You can wait, or cancel the turn."


def choice_dropped_text(category: str, value: str) -> str:
    """What a thread is told of a choice that the agent did not take again."""
    return f"The agent did not answer when I set its {category} to {value} again, so it keeps its own {category}."


def removal_text(folder: str, seconds: float) -> str:
    """What a thread is told before its folder is deleted."""
    return (
        f"If nobody writes here in the next {long_duration(seconds)}, I forget this conversation and delete its folder "
        f"`{folder}` with all files in it. Push or copy what you want to keep."
    )


def _minutes(seconds: float) -> str:
    if seconds < 90:  # noqa: PLR2004 - below that, minutes are too coarse
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes"


class Conversation:
    """One turn, shown on a surface: it listens to the session and keeps the live message.

    ``settled`` as in :meth:`TurnView.ended`.
    """

    def __init__(self, surface: TurnView, live: LiveMessage, settled: Callable[[], None] = lambda: None) -> None:
        self.live = live
        self._surface = surface
        self._settled = settled
        self._room = TEXT_LIMIT

    def on_started(self) -> None:
        """The prompt has been sent."""
        self._surface.on_started()

    def on_update(self, update: Update) -> None:
        """Take a piece of the answer in and show it."""
        body = update.body
        if update.kind == "agent_message_chunk":
            self._text(schema.chunk_text(body))
        elif update.kind in {"tool_call", "tool_call_update"} and (call := schema.tool_call(body)) is not None:
            self.live.tool(call.tool_call_id, title=call.title, kind=call.kind, status=call.status)
        elif update.kind == "plan" and isinstance(entries := body.get("entries"), list):
            self.live.plan([entry for entry in entries if isinstance(entry, dict)])
        self._surface.on_update(self.live, update)

    def _text(self, text: str) -> None:
        if self._room == 0:
            return
        kept = text[: self._room]
        self._room -= len(kept)
        self.live.append(kept)
        if self._room == 0:
            self.live.notice(f"The answer was cut at {TEXT_LIMIT:,} characters.")

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """Show that a permission is wanted."""
        self._surface.on_permission_request(ask)

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """Show that it is no longer."""
        self._surface.on_permission_resolved(ask)

    def on_ended(self, end: TurnEnd) -> None:
        """Deliver the whole."""
        if end.stop_reason == DEFERRED:
            self._surface.on_deferred()
        else:
            self._surface.on_ended(self.live, end, self._settled)


class Conversations:
    """A platform's threads: takes people's messages in, and tells the threads what becomes of their sessions."""

    def __init__(self, pool: Pool, port: ChatPlatform, *, new_message: Callable[[], LiveMessage] = LiveMessage) -> None:
        self._pool = pool
        self._port = port
        self._new_message = new_message
        pool.attach(port.platform, self)

    def receive(self, incoming: IncomingMessage) -> int:
        """Queue a message as a turn; how many turns are before it. Raises as :meth:`Pool.submit`."""
        return self._submit(incoming, secrets.token_hex(8))

    def _submit(self, incoming: IncomingMessage, turn_id: str, *, recovered: bool = False) -> int:
        store = self._pool.store
        surface = self._port.surface(incoming)
        conversation = Conversation(surface, self._new_message(), lambda: store.turn_settled(turn_id))
        turn = Turn(
            _blocks(incoming),
            conversation,
            text=incoming.text,
            key=incoming.key,
            fit=lambda blocks, capabilities: self._port.fit(incoming, blocks, capabilities),
            message=msgspec.json.encode(incoming),
            turn_id=turn_id,
            recovered=recovered,
            check=(lambda: self._port.recheck(incoming)) if recovered else None,
        )
        return self._pool.submit(
            incoming.thread_id, turn, platform=self._port.platform, owner=incoming.owner, agent=incoming.agent
        )

    def recover(self) -> None:
        """Take up what an earlier life of the daemon's left: tell what was interrupted, run what waited."""
        for record in self._pool.store.restored.turns:
            if record.platform != self._port.platform:
                continue
            try:
                incoming = _INCOMING.decode(record.message)
            except msgspec.MsgspecError:
                log.exception("turn_unreadable", turn=record.turn_id, thread=record.thread_id)
                self._port.notice(record.thread_id, UNREADABLE)
                self._pool.store.turn_settled(record.turn_id)
                continue
            thread = self._pool.thread(record.thread_id)
            if record.state == "running":
                words = f"{INTERRUPTED} {_following(resumable=thread is not None and thread.resumable)}"
                self._port.interrupted(incoming, words)
                self._pool.store.turn_settled(record.turn_id)
                continue
            try:
                self._submit(incoming, record.turn_id, recovered=True)
            except WireError as error:
                self._port.interrupted(incoming, f"{error}.")
                self._pool.store.turn_settled(record.turn_id)

    def revise(self, incoming: IncomingMessage, text: str) -> IncomingMessage | None:
        """Give a queued message another text; ``None`` where its turn has begun, or is gone."""
        revised = msgspec.structs.replace(incoming, text=text)
        session = self._pool.get(incoming.thread_id)
        turn = None if session is None else session.turns.revise(incoming.key, _blocks(revised), text)
        if turn is None:
            return None
        turn.message = msgspec.json.encode(revised)
        self._pool.store.turn_revised(turn.turn_id, turn.message)
        return revised

    def session_changed(self, thread_id: str) -> None:
        """The thread's row has changed."""
        self._port.session_changed(thread_id)

    def session_ended(self, thread_id: str, reason: Reason, detail: str | None, *, resumable: bool) -> None:
        """Tell the thread, in words, where there is something to tell."""
        words = ending_words(reason, detail, resumable=resumable)
        if words is not None:
            self._port.notice(thread_id, words)

    def session_started_fresh(self, thread_id: str) -> None:
        """Tell the thread that the agent has forgotten the conversation."""
        self._port.notice(thread_id, AFRESH)

    def session_stuck(self, thread_id: str, activity: str | None, seconds: float) -> None:
        """Tell the thread which tool blocks."""
        self._port.notice(thread_id, stuck_words(activity, seconds))

    def choice_dropped(self, thread_id: str, category: str, value: str) -> None:
        """Tell the thread that its choice no longer holds."""
        self._port.notice(thread_id, choice_dropped_text(category, value))

    def removal_planned(self, thread_id: str, folder: str, seconds: float) -> None:
        """Tell the thread which folder is deleted, and when."""
        self._port.notice(thread_id, removal_text(folder, seconds))


def _blocks(incoming: IncomingMessage) -> list[dict[str, Any]]:
    context = [schema.text_block(incoming.context)] if incoming.context else []
    text = [schema.text_block(incoming.text)] if incoming.text else []
    return [*context, *incoming.blocks, *text]
