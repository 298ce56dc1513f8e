"""Whether other bots write in a thread: looked up in its history once, when the bot is first mentioned there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from acpbot.chat.discord.access import PLATFORM
from acpbot.chat.discord.outbound.rest import RequestRefused, Unreachable
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.chat.discord.access import Channels, CurrentSettings, MessageSource
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.sessions.known_threads import KnownThreads

log = get_logger(__name__)

LOOK_SECONDS: Final = 10.0
"""How long Discord may take to answer; the message goes on without an answer then."""


class OtherBots:
    """The thread's last 100 messages are looked at, and only where the settings make a difference for such threads."""

    def __init__(self, settings: CurrentSettings, known: KnownThreads, channels: Channels, outbox: Outbox) -> None:
        self._settings = settings
        self._known = known
        self._channels = channels
        self._outbox = outbox

    async def look(self, source: MessageSource, own_id: str) -> None:
        """The bot takes part in the thread ``source``: find out, where nobody knows, who else does."""
        thread_id = source.channel_id
        known = self._known.used(thread_id, PLATFORM)
        if source.other_bots:
            self._known.set_other_bots(thread_id, there=True)
        if known.other_bots is not None or self._settings.discord.allow_user_messages != "multibot-mentions":
            return
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                latest = await self._outbox.rest.latest(thread_id)
        except (Unreachable, TimeoutError) as error:
            log.info("other_bots_unknown", thread=thread_id, error=str(error) or "no answer")
            return
        except RequestRefused as error:
            log.info("other_bots_unknown", thread=thread_id, error=str(error))
            latest = []
        authors = [message.get("author") or {} for message in latest]
        there = any(author.get("bot") and str(author.get("id")) != own_id for author in authors)
        if there:
            self._channels.add_other_bot(thread_id)
        self._known.set_other_bots(thread_id, there=there)
