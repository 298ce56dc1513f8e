"""What the rest of the house needs of a chat platform, and what a platform hands in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from acpbot.acp.schema import Update
    from acpbot.chat.live_message import LiveMessage
    from acpbot.sessions.turn import Ask, Fit, TurnEnd


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A person's message that is meant for the agent.

    ``owner``: the platform's id of the person. ``key`` names the message, so that an edit or a deletion finds the
    queued turn. ``context`` goes before the text as data, and so do ``blocks`` (ACP content blocks: attached files).
    ``fit`` is asked right before the prompt is sent, when the agent's capabilities are known, as :class:`Turn`'s.
    """

    thread_id: str
    text: str
    owner: str
    key: str = ""
    agent: str | None = None
    context: str = ""
    blocks: list[dict[str, Any]] = []
    fit: Fit | None = None


class Surface(Protocol):
    """Where one turn is shown. The calls come in order and may not block: a platform paces itself."""

    def started(self) -> None:
        """The turn runs now."""

    def grew(self, live: LiveMessage, update: Update) -> None:
        """The live message has taken ``update`` in."""

    def asked(self, ask: Ask) -> None:
        """A permission is wanted; :meth:`Ask.select` answers."""

    def ask_ended(self, ask: Ask) -> None:
        """A permission request needs no more answer."""

    def ended(self, live: LiveMessage, end: TurnEnd) -> None:
        """The turn is over: the live message is complete and is to be delivered, whatever became of it so far."""


class ChatPort(Protocol):
    """A chat platform."""

    @property
    def platform(self) -> str:
        """Its name in rows: ``local``, ``discord``."""

    def surface(self, incoming: Incoming) -> Surface:
        """Where the turn of this message will be shown."""

    def notice(self, thread_id: str, text: str) -> None:
        """Tell the thread one plain sentence of the bot's own."""

    def session_changed(self, thread_id: str) -> None:
        """The thread's row has changed."""
