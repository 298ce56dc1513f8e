"""The last prompt of each thread, kept so that people can have it run again. A thread that is forgotten loses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from acpbot.chat.platform import IncomingMessage
from acpbot.logs import get_logger
from acpbot.storage.records import PromptRecord

if TYPE_CHECKING:
    from acpbot.storage.store import Store

log = get_logger(__name__)

FILES_BYTES_MOST: Final = 4 * 1024 * 1024
"""Of the files of one prompt, as they are stored."""

_MESSAGE: Final = msgspec.json.Decoder(IncomingMessage)
_BLOCKS: Final = msgspec.json.Decoder(list[dict[str, Any]])


class LastPrompt(NamedTuple):
    """A prompt, and whether files of it are not kept any more."""

    message: IncomingMessage
    files_lost: bool


class LastPrompts:
    """In the store: a daemon without one keeps none."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, message: IncomingMessage) -> None:
        """This is its thread's last prompt now."""
        words = msgspec.json.encode(msgspec.structs.replace(message, blocks=[]))
        files = msgspec.json.encode(message.blocks) if message.blocks else None
        if files is not None and len(files) > FILES_BYTES_MOST:
            files = None
        self._store.save_prompt(PromptRecord(message.thread_id, words, bool(message.blocks), files))

    async def get(self, thread_id: str) -> LastPrompt | None:
        """The last prompt of a thread; ``None`` where none is kept."""
        record = await self._store.prompt(thread_id)
        if record is None:
            return None
        try:
            message = _MESSAGE.decode(record.message)
            blocks = [] if record.files is None else _BLOCKS.decode(record.files)
        except msgspec.MsgspecError:
            log.exception("last_prompt_unreadable", thread=thread_id)
            return None
        return LastPrompt(msgspec.structs.replace(message, blocks=blocks), record.has_files and record.files is None)
