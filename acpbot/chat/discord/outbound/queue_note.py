"""The reply to a message that waits: its place, kept up to date, and a button that sends it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from acpbot.chat.place_text import place_text
from acpbot.chat.rendering.markdown import plain

if TYPE_CHECKING:
    from acpbot.chat.discord.interactions.send_now_button import SendNowButtons
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.post import Post
    from acpbot.chat.platform import IncomingMessage
    from acpbot.sessions.turn import Place


class QueueNote:
    """Of one message. The next run of the daemon deletes it, and posts another one where the message waits again."""

    def __init__(self, incoming: IncomingMessage, outbox: Outbox, buttons: SendNowButtons) -> None:
        self._thread_id = incoming.thread_id
        self._key = incoming.key if incoming.key.isdecimal() else None
        self._outbox = outbox
        self._buttons = buttons
        self._post: Post | None = None

    def show(self, place: Place) -> None:
        """Show where the message waits; a message for which another turn is cancelled needs no note of its own."""
        text = f"👀 {place_text(structs.replace(place, start=plain(place.start)))}"
        below = self._buttons.rows(self._key) if place.may_interrupt and self._key is not None else ()
        if self._post is not None:
            self._post.show(text, below)
        elif not place.is_next:
            self._post = self._outbox.post(
                self._thread_id, text, components=below, reply_to=self._key, on_restart="retract"
            )

    def drop(self) -> None:
        """The message does not wait any more."""
        if self._post is not None:
            self._post.retract()
            self._post = None
            if self._key is not None:
                self._buttons.dropped(self._key)
