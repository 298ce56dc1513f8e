"""The reactions on one user's message: the state machine of :mod:`.reactions`, on the loop's clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acpbot.chat.discord.outbound.reactions import Event, Reactions
from acpbot.chat.discord.outbound.rest import Refused

if TYPE_CHECKING:
    from acpbot.acp.schema import Update
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.config.settings import ReactionSettings


class ReactionUpdater:
    """Tells how far the answer to a message is, by reactions on it. Made when the message is taken."""

    def __init__(self, outbox: Outbox, settings: ReactionSettings, channel_id: str, message_id: str) -> None:
        self._outbox = outbox
        self._channel_id = channel_id
        self._message_id = message_id
        self._reactions = Reactions(settings)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.on(Event.QUEUED)

    def on(self, event: Event) -> None:
        """Take in what the turn does now."""
        self._reactions.on(event, self._loop.time())
        self._look()

    def update(self, update: Update) -> None:
        """Take an update of the turn in."""
        self._reactions.update(update.kind, update.body, self._loop.time())
        self._look()

    def _look(self) -> None:
        for change in self._reactions.due(self._loop.time()):
            self._outbox.react(self._channel_id, self._message_id, change.emoji, add=change.action == "add")
        wakeup = self._reactions.next_wakeup()
        if wakeup is None:
            self._stop()
        elif self._timer is None or wakeup < self._timer.when():
            self._stop()
            self._timer = self._loop.call_at(wakeup, self._again)

    def _again(self) -> None:
        self._timer = None
        self._look()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def end_reactions(outbox: Outbox, settings: ReactionSettings, channel_id: str, message_id: str) -> None:
    """Take away what an earlier life said by reactions on a message, and say that it failed."""
    if not settings.enabled:
        return
    try:
        message = await outbox.message(channel_id, message_id)
    except Refused:
        return  # it is gone, or out of reach
    for reaction in message.get("reactions", ()):
        if reaction.get("me"):
            emoji = reaction["emoji"]
            name = f"{emoji['name']}:{emoji['id']}" if emoji.get("id") else emoji["name"]
            outbox.react(channel_id, message_id, name, add=False)
    outbox.react(channel_id, message_id, settings.emojis.error, add=True)
