"""What the rest of the house needs of a chat platform, and what a platform hands in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.schema import PromptCapabilities, Update
    from acpbot.chat.rendering.live_message import LiveMessage
    from acpbot.sessions.turn import PermissionRequest, TurnEnd


class ChatFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The chat platform's connection. The terminal's chat is always connected.

    ``since``: RFC 3339 UTC, since when ``connected`` is what it is. ``disconnected_seconds``: how long there has been
    no connection; ``None`` while there is one, and where there never was one.
    """

    platform: str
    connected: bool
    since: str | None = None
    disconnected_seconds: float | None = None
    latency_ms: float | None = None
    heartbeat_ack_seconds: float | None = None


class IncomingMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A person's message that is meant for the agent: plain data, so that it can be kept over a restart.

    ``owner``: the platform's id of the person. ``key`` names the message, so that an edit or a deletion finds the
    queued turn, and ``origin`` where it stands, if that is not the thread. ``context`` goes before the text as data,
    and so do ``blocks`` (ACP content blocks: attached files).
    """

    thread_id: str
    text: str
    owner: str
    key: str = ""
    origin: str = ""
    agent: str | None = None
    context: str = ""
    blocks: list[dict[str, Any]] = []


class TurnView(Protocol):
    """Where one turn is shown. The calls come in order and may not block: a platform paces itself."""

    def on_started(self) -> None:
        """The turn runs now."""

    def on_update(self, live: LiveMessage, update: Update) -> None:
        """The live message has taken ``update`` in."""

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """A permission is wanted; :meth:`PermissionRequest.select` answers."""

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """A permission request needs no more answer."""

    def on_ended(self, live: LiveMessage, end: TurnEnd, settled: Callable[[], None]) -> None:
        """The turn is over: the live message is complete and is to be delivered, whatever became of it so far.

        ``settled`` is to be called in the very step of the event loop in which what is to be delivered is written
        down: until then the turn is one that a restart has interrupted.
        """

    def on_deferred(self) -> None:
        """The turn did not run; it is made again in the daemon's next life."""


class ChatPlatform(Protocol):
    """A chat platform."""

    @property
    def platform(self) -> str:
        """Its name in rows: ``local``, ``discord``."""

    def surface(self, incoming: IncomingMessage) -> TurnView:
        """Where the turn of this message will be shown."""

    def fit(
        self, incoming: IncomingMessage, blocks: list[dict[str, Any]], capabilities: PromptCapabilities
    ) -> list[dict[str, Any]]:
        """The prompt's blocks as far as the agent takes them; asked right before it is sent."""

    async def recheck(self, incoming: IncomingMessage) -> None:
        """A message that waited over a restart is about to run: revise or withdraw it, if its author has meanwhile."""

    def interrupted(self, incoming: IncomingMessage, text: str) -> None:
        """Tell the thread that this message's turn ended with an earlier life of the daemon's."""

    def notice(self, thread_id: str, text: str) -> None:
        """Tell the thread one plain sentence of the bot's own."""

    def session_changed(self, thread_id: str) -> None:
        """The thread's row has changed."""
