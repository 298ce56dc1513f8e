"""People's messages from when the bot accepts them until their turns have ended."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from acpbot.chat.discord.outbound.reaction_updater import ReactionUpdater
    from acpbot.chat.discord.outbound.turn_view import DiscordTurnView
    from acpbot.sessions.pool import Pool

_DELETED_MAX: Final = 200


class Stage(enum.Enum):
    """How far a message is: it passes these stages in this order, but may leave some out."""

    PREPARING = enum.auto()
    """Its thread is opened and its files are downloaded."""
    QUEUED = enum.auto()
    """Its turn waits: an edit or a deletion still changes it."""
    RUNNING = enum.auto()
    ENDED = enum.auto()
    """Its turn is over, run or not."""


class PendingMessage:
    """All that is known of one message.

    ``key``: the message's id. ``text``: what it says, edits included. ``view`` is there from QUEUED on.
    ``interrupted``: its turn was cut short because the daemon stops.
    """

    __slots__ = ("deleted", "interrupted", "key", "reactions", "stage", "text", "view")

    def __init__(self, key: str, text: str) -> None:
        self.key = key
        self.text = text
        self.stage = Stage.PREPARING
        self.deleted = False
        self.interrupted = False
        self.reactions: ReactionUpdater | None = None
        self.view: DiscordTurnView | None = None


class PendingMessages:
    """The pending messages, by their ids.

    ``recently_deleted``: the ids of messages of anybody that were deleted; of more than 200 the first are forgotten.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._by_key: dict[str, PendingMessage] = {}
        self.recently_deleted: deque[str] = deque(maxlen=_DELETED_MAX)

    def add(self, key: str, text: str) -> PendingMessage:
        """A message that the bot accepts now, or queued before a restart."""
        message = self._by_key[key] = PendingMessage(key, text)
        return message

    def get(self, key: str) -> PendingMessage | None:
        """The message with this id, if it is pending."""
        return self._by_key.get(key)

    def discard(self, message: PendingMessage) -> None:
        """Forget a message; one whose turn was interrupted is kept for :meth:`was_interrupted`."""
        if not message.interrupted and self._by_key.get(message.key) is message:
            del self._by_key[message.key]

    @staticmethod
    def on_started(message: PendingMessage, _view: DiscordTurnView) -> None:
        """The message's turn runs."""
        message.stage = Stage.RUNNING

    def on_over(self, message: PendingMessage, view: DiscordTurnView) -> None:
        """The message's turn is over. It is pending until this step of the event loop ends, for :meth:`report_end`."""
        message.stage = Stage.ENDED
        stopped = view.end is not None and view.end.stop_reason in {"cancelled", "error"}
        message.interrupted = self._pool.stopping and stopped
        asyncio.get_running_loop().call_soon(self.discard, message)

    def report_end(self, thread_id: str, text: str) -> None:
        """The thread gets ``text`` now: a turn that has just ended need not show an error that is in it as well."""
        for message in self._by_key.values():
            if message.stage is Stage.ENDED and message.view is not None and message.view.thread_id == thread_id:
                message.view.end_is_told(text)

    def was_interrupted(self, thread_id: str) -> bool:
        """Whether the stop of the daemon has cut a turn of this thread short."""
        return any(
            message.interrupted and message.view is not None and message.view.thread_id == thread_id
            for message in self._by_key.values()
        )
