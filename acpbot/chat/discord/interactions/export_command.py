"""`/export`: the thread's messages as a Markdown file, for the person who asks and nobody else."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from acpbot.aio import retry
from acpbot.chat.discord.inbound.surroundings import messages_of
from acpbot.chat.discord.interactions import export_text
from acpbot.chat.discord.interactions.menus import Menu
from acpbot.chat.discord.interactions.upload_slots import BUSY
from acpbot.chat.discord.outbound.rest import PAGE, File, RequestRefused, Unreachable
from acpbot.logs import get_logger
from acpbot.text import size_words

if TYPE_CHECKING:
    from acpbot.chat.discord.interactions.call import Call
    from acpbot.chat.discord.interactions.upload_slots import UploadSlots
    from acpbot.chat.discord.outbound.outbox import Outbox

log = get_logger(__name__)

MESSAGES_MOST: Final = 2000
"""Of one export: the newest of the thread."""

BYTES_MOST: Final = 4 * 1024 * 1024
SECONDS: Final = 120.0
"""How long Discord may take to give them."""

NOT_YOUR_HISTORY: Final = "You can't read this thread's earlier messages, so I can't give them to you."
NOT_READABLE: Final = "I'm not allowed to read this thread. Ask an admin of this server to check my permissions."
NO_ANSWER: Final = "Discord isn't responding right now. Please try again in a moment."
_TRIES: Final = 3


class ExportCommand:
    """Reads the history page by page, the newest first."""

    def __init__(self, outbox: Outbox, slots: UploadSlots) -> None:
        self._outbox = outbox
        self._slots = slots

    async def run(self, call: Call) -> Menu:
        """The file, or why there is none. The thread must be the bot's."""
        interaction = call.interaction
        if not (call.source.is_dm or interaction.permissions.read_message_history):
            return Menu(NOT_YOUR_HISTORY)
        if not self._slots.take(call):
            return Menu(BUSY)
        texts: list[str] = []
        note: str | None = export_text.NOT_ALL_READ
        try:
            async with asyncio.timeout(SECONDS):
                note = await self._read(call, texts)
        except RequestRefused as error:
            log.info("export_refused", thread=call.thread_id, error=str(error))
            return Menu(NOT_READABLE)
        except (Unreachable, TimeoutError) as error:
            log.warning("export_incomplete", thread=call.thread_id, error=str(error) or "no answer")
            if not texts:
                return Menu(NO_ANSWER)
        texts.reverse()
        title = getattr(interaction.channel, "name", None) or ""
        data = export_text.document(title, texts, at=interaction.created_at, note=note).encode(errors="replace")
        log.info("thread_exported", user=call.user_id, thread=call.thread_id, messages=len(texts), size=len(data))
        count = f"{len(texts):,} message{'s' * (len(texts) != 1)}"
        answer = f"This conversation as Markdown: {count}, {size_words(len(data))}. Only you can see it."
        file = File(export_text.file_name(title, call.thread_id), data)
        return Menu(f"{answer} {note}" if note else answer, file=file)

    async def _read(self, call: Call, texts: list[str]) -> str | None:
        """Add the messages to ``texts``, newest first; what is left out. Raises RequestRefused, Unreachable."""
        me, channel = call.interaction.client.user, call.interaction.channel
        own_id, own_name = ("", "") if me is None else (str(me.id), me.display_name)
        before, size, seen = str(call.interaction.id), 0, 0
        while page := await self._page(call.thread_id, before):
            before = str(page[0]["id"])
            for message in reversed(messages_of(channel, page)):
                seen += 1
                text = export_text.message_text(message, own_id, own_name)
                size += len(text.encode(errors="replace"))
                if size > BYTES_MOST or seen > MESSAGES_MOST:
                    return export_text.OLDER_LEFT_OUT
                texts += [text] if text else []
        return None

    async def _page(self, thread_id: str, before: str) -> list[dict[str, Any]]:
        read = partial(self._outbox.rest.page_before, thread_id, before, PAGE)
        return await retry(read, on=(Unreachable,), backoff=self._outbox.retries, attempts=_TRIES)
