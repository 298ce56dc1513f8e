"""The terminal's chat, the daemon's side of it: a thread's events go to whoever has the thread open.

The management server carries the events (``chat.*``); this module knows nothing of sockets.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.chat.conversation import Conversations
from acpbot.chat.earlier_conversations import EarlierConversations, KnownConversations
from acpbot.chat.local_commands import PLATFORM, LocalCommands
from acpbot.chat.platform import IncomingMessage
from acpbot.chat.turn_events import Event, TurnEvents, asked_event, end_event, question_event
from acpbot.errors import InvalidParams, NotFound
from acpbot.sessions.workspace import check_thread_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.schema import PromptCapabilities, Update
    from acpbot.chat.followed_turn import TurnFollower
    from acpbot.chat.rendering.answer import Answer
    from acpbot.errors import WireError
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.session import Session
    from acpbot.sessions.turn import TurnEnd
    from acpbot.sessions.views import Row

_MISSED_THREADS: Final = 100
_MISSED_EVENTS: Final = 10
_MISSED_TEXT: Final = 64 * 1024


class LocalChat:
    """Threads of the terminal. ``emit`` callbacks take the params of one ``chat.event`` and may not block."""

    platform = PLATFORM
    limits_people = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._conversations = Conversations(pool, self)
        self._commands = LocalCommands(pool, self._announce)
        self.ends = self._commands.ends
        self._earlier = EarlierConversations(pool, PLATFORM, self._commands.ends, self._announce)
        self._listeners: dict[str, list[Callable[[Event], None]]] = {}
        self._views: dict[str, _LocalTurnView] = {}
        self._missed: dict[str, list[Event]] = {}

    def recover(self) -> None:
        """Go on with the turns of an earlier run of the daemon."""
        self._conversations.recover()

    # What the management server calls.

    async def open(
        self, thread: str, agent: str | None, owner: str, emit: Callable[[Event], None], *, resume: str | None = None
    ) -> Row:
        """Open a thread: its session is started where it has none, and its events go to ``emit`` from now on.

        ``resume``: the agent's id of a conversation that the thread takes up. Raises InvalidParams, Draining, TooMany,
        Conflict.
        """
        check_thread_id(thread)
        known = self._pool.thread(thread)
        if known is not None and known.platform != self.platform:
            raise InvalidParams(f"cannot open {thread}: it is a {known.platform} thread; see `acpctl tail {thread}`")
        if resume is None:
            session = self._pool.ensure(thread, platform=self.platform, owner=owner, agent=agent)
        else:
            session = await self._earlier.take_up(thread, resume, owner=owner, agent=agent, by=owner)
        listeners = self._listeners.setdefault(thread, [])
        is_new = emit not in listeners
        if is_new:
            listeners.append(emit)
        for event in self._missed.pop(thread, ()):
            self.emit(thread, event)
        for event in _open_requests(session) if is_new else ():
            emit({"thread": thread, **event})
        return session.row()

    async def send(self, thread: str, text: str, owner: str, *, now: bool = False) -> int:
        """Queue a prompt; how many turns are before it. ``now``: the running turn is cancelled for it.

        Raises InvalidParams, NotFound (not open here), Draining, TooMany.
        """
        if not text.strip():
            raise InvalidParams("cannot send an empty message")
        if thread not in self._listeners:
            raise NotFound(f"cannot send: thread {thread[:80]!r} is not open here; chat.open it first")
        return self._conversations.receive(IncomingMessage(thread_id=thread, text=text, owner=owner), now=now)

    def ask(
        self,
        thread: str,
        text: str,
        user: str,
        *,
        agent: str | None,
        follower: TurnFollower,
        scheduled: bool = False,  # noqa: ARG002 - a terminal shows every prompt alike
        now: bool = False,
    ) -> int:
        """As :meth:`OperatorPlatform.ask`."""
        incoming = IncomingMessage(thread_id=thread, text=text, owner=user, agent=agent)
        return self._conversations.receive(incoming, follower=follower, now=now)

    def permit(self, thread: str, request: str, option: str, user: str) -> None:
        """Answer a permission request as ``user``. Raises NotFound, Conflict, InvalidParams."""
        session = self._pool.get(thread)
        if session is None or thread not in self._listeners:
            raise NotFound(f"cannot answer: thread {thread[:80]!r} is not open here")
        session.permission_requests.get(request).select(option, by=user)

    async def command(self, thread: str, name: str, value: str | None, user: str) -> str:
        """Do what ``/name value`` asks for; its answer as plain text. Raises as :meth:`LocalCommands.run`."""
        return await self._commands.run(thread, name, value, user)

    async def conversations(self, thread: str) -> KnownConversations:
        """What the thread's agent knows for its folder. Raises as :meth:`EarlierConversations.list`."""
        return await self._earlier.list(thread)

    async def recent(self, thread: str, count: int) -> list[Event]:
        """The last lines of the thread's output, or what is kept of it; none where they are among what was missed."""
        if thread in self._missed:
            return []
        if self._pool.get(thread) is None:
            return (await self._pool.kept.read(thread))[-count:]
        lines, leave = self._pool.tail(thread, lambda _line: None)
        leave()
        return lines[-count:]

    def leave(self, thread: str, emit: Callable[[Event], None]) -> None:
        """Send nothing more to ``emit``; the session goes on."""
        listeners = self._listeners.get(thread, [])
        if emit in listeners:
            listeners.remove(emit)
        if not listeners:
            self._listeners.pop(thread, None)
            self._forget_ended(thread)

    def snapshot(self, thread: str) -> list[Event]:
        """The thread as it is now, for a reader that fell behind: row, text so far, open requests and questions."""
        events: list[Event] = []
        session = self._pool.get(thread)
        if session is not None:
            events.append({"type": "session", "session": msgspec.to_builtins(session.row())})
        view = self._views.get(thread)
        if view is not None:
            events += view.snapshot()
        if session is not None:
            events += _open_requests(session)
        return [{"thread": thread, **event} for event in events]

    # ChatPlatform.

    def turn_view(self, incoming: IncomingMessage) -> _LocalTurnView:
        """What shows the turn of this message."""
        return _LocalTurnView(self, incoming.thread_id, incoming.text)

    def unprompted_view(self, thread_id: str) -> _LocalMessageView:
        """What shows a text of the agent while no turn runs."""
        return _LocalMessageView(self, thread_id, "")

    def adapt_blocks(
        self, _incoming: IncomingMessage, blocks: list[dict[str, Any]], _capabilities: PromptCapabilities
    ) -> list[dict[str, Any]]:
        """All of it: a terminal sends text, which every agent takes."""
        return blocks

    async def recheck(self, _incoming: IncomingMessage, *, recovered: bool) -> None:
        """What an operator typed into a terminal stays as it is, and may run."""
        del recovered

    async def lost_access(self, _incoming: IncomingMessage) -> None:
        """Operators may always."""

    def refusal_text(self, _incoming: IncomingMessage, error: WireError) -> str:
        """An operator reads the error as it is."""
        return f"{error}."

    def interrupted(self, incoming: IncomingMessage, text: str) -> None:
        """Nobody has a thread open when a daemon starts: whoever opens it gets ``text``."""
        self._keep_for_next_reader(incoming.thread_id, {"type": "notice", "text": text})

    def plain(self, text: str) -> str:
        """The text as it is: a terminal shows no markup."""
        return text

    def notice(self, thread_id: str, text: str) -> None:
        """Send the thread one plain sentence; nothing where a turn that could not start has just said it."""
        view = self._views.get(thread_id)
        if view is not None and view.has_reported(text):
            return
        self._announce(thread_id, self._commands.ends.text(thread_id) or text)

    def _announce(self, thread_id: str, text: str) -> None:
        self.emit(thread_id, {"type": "notice", "text": text})

    def session_changed(self, thread_id: str) -> None:
        """Send the thread's row to those who have it open."""
        if thread_id in self._listeners and (session := self._pool.get(thread_id)) is not None:
            self.emit(thread_id, {"type": "session", "session": msgspec.to_builtins(session.row())})

    def emit(self, thread_id: str, event: Event) -> None:
        """Send one event to all who have the thread open."""
        for emit in tuple(self._listeners.get(thread_id, ())):
            emit({"thread": thread_id, **event})

    def over(self, thread_id: str, *events: Event) -> None:
        """A turn of the thread is over; where nobody has it open, whoever opens it next gets ``events``."""
        if thread_id not in self._listeners:
            self._keep_for_next_reader(thread_id, *events)

    def _keep_for_next_reader(self, thread_id: str, *events: Event) -> None:
        missed = self._missed.pop(thread_id, [])
        short = [{**event, "text": event["text"][:_MISSED_TEXT]} if "text" in event else event for event in events]
        self._missed[thread_id] = [*missed, *short][-_MISSED_EVENTS:]
        if len(self._missed) > _MISSED_THREADS:
            del self._missed[next(iter(self._missed))]

    def now_shown(self, thread_id: str, view: _LocalTurnView) -> None:
        """This view shows the thread's running or last turn; that of an ended turn is kept while the thread is open."""
        self._views[thread_id] = view
        if thread_id not in self._listeners:
            self._forget_ended(thread_id)

    def _forget_ended(self, thread_id: str) -> None:
        view = self._views.get(thread_id)
        if view is not None and view.is_over:
            del self._views[thread_id]


class _LocalTurnView(TurnEvents):
    def __init__(self, chat: LocalChat, thread_id: str, prompt: str) -> None:
        super().__init__(partial(chat.emit, thread_id), prompt)
        self._chat = chat
        self._thread_id = thread_id
        self._error = ""
        self._started = False

    def on_started(self) -> None:
        self._started = True
        self._chat.now_shown(self._thread_id, self)
        super().on_started()

    def on_ended(self, live: Answer, end: TurnEnd, on_persisted: Callable[[], None]) -> None:
        self._live = None
        self._error = "" if self._started else end.for_operators or ""
        self._chat.over(self._thread_id, self.begin, end_event(live, end))
        super().on_ended(live, end, on_persisted)
        self._chat.now_shown(self._thread_id, self)

    def has_reported(self, text: str) -> bool:
        """Whether the turn never ran, for the reason in ``text``; true once, since a later failure is another one."""
        error, self._error = self._error, ""
        return bool(error) and error.casefold() in text.casefold()


class _LocalMessageView(_LocalTurnView):
    """A text of the agent outside turns: one event, once the text is whole."""

    def on_update(self, live: Answer, update: Update) -> None:
        """Nothing yet."""

    def on_ended(self, live: Answer, end: TurnEnd, on_persisted: Callable[[], None]) -> None:
        del end
        event = {"type": "message", "text": live.text}
        self._chat.over(self._thread_id, event)
        self._emit(event)
        on_persisted()


def _open_requests(session: Session) -> list[Event]:
    """The permission requests and questions that wait for an answer."""
    asked = [asked_event(ask) for ask in session.permission_requests.open.values()]
    return asked + [question_event(question) for question in session.questions.open.values()]
