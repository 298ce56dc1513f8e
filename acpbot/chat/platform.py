"""What the rest of the project needs of a chat platform, and the messages that a platform hands in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.schema import PromptCapabilities, Update
    from acpbot.chat.rendering.answer import Answer
    from acpbot.errors import WireError
    from acpbot.sessions.questions import Question
    from acpbot.sessions.turn import PermissionNote, PermissionRequest, Place, TurnEnd


class ChatFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The chat platform's connection. The terminal's chat is always connected.

    ``since``: RFC 3339 UTC, since when ``connected`` is what it is. ``disconnected_seconds``: how long there has been
    no connection; ``None`` while there is one, and where there never was one. ``channels_problem``: what keeps the bot
    from its work in its channels; ``commands_problem``: why its slash commands are not registered. ``None`` where there
    is no problem, or none is known.
    """

    platform: str
    connected: bool
    since: str | None = None
    disconnected_seconds: float | None = None
    latency_ms: float | None = None
    heartbeat_ack_seconds: float | None = None
    channels_problem: str | None = None
    commands_problem: str | None = None


class IncomingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A person's message that is meant for the agent: plain data, so that it can be kept over a restart.

    ``owner``: the platform's id of the person. ``key`` names the message, so that an edit or a deletion finds the
    queued turn, and ``origin`` the channel that it is in, if that is not the thread. ``channel``: the channel that the
    thread belongs to. ``agent``: the one that the person has chosen for a conversation that begins with this message.
    ``context`` is data that goes after the text, and so are ``blocks`` (ACP content blocks: attached files). ``title``
    names a thread that begins with it, where ``text`` is not what people see. ``only_files``: without ``blocks`` there
    is nothing to do. ``by_program``: no person has written it. ``operator``: the user name of the operator who asks by
    ``acpctl``; then ``owner`` is empty, and ``key`` is no message's.
    """

    thread_id: str
    text: str
    owner: str
    key: str = ""
    origin: str = ""
    agent: str | None = None
    channel: str | None = None
    title: str = ""
    context: str = ""
    blocks: list[dict[str, Any]] = []
    only_files: bool = False
    by_program: bool = False
    operator: str = ""


class TurnView(Protocol):
    """Shows one turn. The calls come in order and may not block: a platform paces itself."""

    def on_queued(self, place: Place) -> None:
        """The turn waits, and this is its place now."""

    def on_started(self) -> None:
        """The turn runs now."""

    def on_update(self, live: Answer, update: Update) -> None:
        """``update`` has changed the answer."""

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """A permission is wanted; :meth:`PermissionRequest.select` answers."""

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """A permission request needs no more answer."""

    def on_question(self, question: Question) -> None:
        """The agent asks people something; :meth:`Question.answer` answers."""

    def on_question_closed(self, question: Question) -> None:
        """A question needs no more answer."""

    def on_permission_note(self, live: Answer, note: PermissionNote) -> None:
        """A permission request was answered, and no person did it; the answer has a line about it."""

    def on_ended(self, live: Answer, end: TurnEnd, on_persisted: Callable[[], None]) -> None:
        """The turn is over: the answer is complete and is to be delivered, whatever was delivered so far.

        Call ``on_persisted`` in the very step of the event loop in which what is to be delivered is written to the
        store: a daemon that starts before that reports the turn as interrupted.
        """

    def on_deferred(self) -> None:
        """The turn did not run; the next run of the daemon makes it again."""

    def on_refused(self) -> None:
        """The pool has not taken the turn: release what is held for it, since no other call follows."""


class ChatPlatform(Protocol):
    """A chat platform."""

    @property
    def platform(self) -> str:
        """Its name in rows: ``local``, ``discord``."""

    def turn_view(self, incoming: IncomingMessage) -> TurnView:
        """What shows the turn of this message."""

    def unprompted_view(self, thread_id: str) -> TurnView:
        """What shows a text, or a request, of the agent while no turn runs; ``on_started`` is not called."""

    def adapt_blocks(
        self, incoming: IncomingMessage, blocks: list[dict[str, Any]], capabilities: PromptCapabilities
    ) -> list[dict[str, Any]]:
        """The prompt's blocks as far as the agent takes them; asked right before it is sent."""

    @property
    def limits_people(self) -> bool:
        """Whether the limits of ``[pool]`` for one person hold for its users; not where they are operators."""

    async def recheck(self, incoming: IncomingMessage, *, recovered: bool) -> str | None:
        """Return why a message that is about to run may not run, a sentence for people; ``None`` where it may.

        ``recovered``: it waited over a restart; revise or withdraw it if its author has meanwhile.
        """

    async def lost_access(self, incoming: IncomingMessage) -> str | None:
        """Return a sentence for people where a message's author may not use the bot any more; ``None``: they may.

        It is ``None`` too where nobody can tell now.
        """

    def refusal_text(self, incoming: IncomingMessage, error: WireError) -> str:
        """What the author of a message reads that is refused with this error."""

    def interrupted(self, incoming: IncomingMessage, text: str) -> None:
        """Post ``text`` in the thread: this message's turn ended with an earlier run of the daemon."""

    def plain(self, text: str) -> str:
        """Text of an agent for a sentence of the bot's own: no markup, link or mention in it has any effect."""

    def notice(self, thread_id: str, text: str) -> None:
        """Post one plain sentence of the bot's own in the thread."""

    def session_changed(self, thread_id: str) -> None:
        """The thread's row has changed."""
