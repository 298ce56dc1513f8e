"""The files that an agent sends in one turn, as attachments, each once. They are decoded in a thread.

An update of an agent is cut past 1 MiB (:mod:`acpbot.acp.bounds`), so a file has at most about 768 KiB.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from functools import partial
from typing import TYPE_CHECKING, Final

from acpbot.acp.content import Attachment, attachments
from acpbot.aio import Threads
from acpbot.chat.discord.outbound.rest import File
from acpbot.chat.rendering.markdown import code
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.acp.schema import Update
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.post import Post

log = get_logger(__name__)

FILES_MOST: Final = 10
"""Files of one turn."""
BYTES_MOST: Final = 8 * 1024 * 1024
"""Bytes of all files of one turn, as they come."""
TOO_LARGE: Final = "⚠️ The agent sent a file that's too large to pass on (over about 768 KiB)."
TOO_MANY: Final = "⚠️ The agent sent more files than I can pass on: up to 10 files, 8 MiB in total, for each answer."
UNREADABLE: Final = "⚠️ The agent sent a file that can't be read: {}."
_THREADS: Final = Threads("agent file", 1)
# What an image that people's programs open begins with: the agent's word for its type is not enough.
_IMAGES: Final = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)


class FilePoster:
    """Posts the files in a turn's updates to its thread; one sentence for those that are left out."""

    def __init__(self, outbox: Outbox, thread_id: str) -> None:
        self._outbox = outbox
        self._thread_id = thread_id
        self._seen: set[int] = set()
        self._bytes = 0
        self._notes: set[str] = set()

    @property
    def used(self) -> bool:
        """Whether the turn has a file, or a sentence about one."""
        return bool(self._seen or self._notes)

    def show(self, update: Update) -> None:
        """Post the files of this update that are new."""
        for found in attachments(update.kind, update.body):
            if not found.data:
                if update.cut:
                    self._note(TOO_LARGE)
                continue
            key = hash((found.name, found.data))
            if key in self._seen:
                continue
            if len(self._seen) >= FILES_MOST or self._bytes + len(found.data) > BYTES_MOST:
                self._note(TOO_MANY)
                return
            self._seen.add(key)
            self._bytes += len(found.data)
            made = asyncio.wrap_future(_THREADS.submit(_decode, found))
            post = self._outbox.post(self._thread_id, "", ready=made)
            made.add_done_callback(partial(self._decoded, post, found.name))

    def _decoded(self, post: Post, name: str, made: asyncio.Future[File | None]) -> None:
        error = None if made.cancelled() else made.exception()
        if error is not None:
            log.error("agent_file_crashed", exc_info=error, thread=self._thread_id)
        file = None if made.cancelled() or error is not None else made.result()
        if file is None:
            post.show(UNREADABLE.format(code(name)), last=True)
            return
        post.file = file
        post.on_refused = partial(self._outbox.post, self._thread_id, UNREADABLE.format(code(name)))
        post.show(f"📎 {code(file.filename)}", last=True)

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.add(text)
            self._outbox.post(self._thread_id, text)


def _decode(found: Attachment) -> File | None:
    """Runs in a thread: the file, ``None`` where it is not what it says that it is."""
    if found.is_text:
        return File(found.name, found.data.encode(errors="replace"))
    try:
        data = base64.b64decode("".join(found.data.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not data:
        return None
    if found.kind != "image":
        return File(found.name, data)
    suffix = image_suffix(data)
    if suffix is None:
        return None
    stem, _, own = found.name.rpartition(".")
    return File(found.name if own == suffix else f"{stem or found.name}.{suffix}", data)


def image_suffix(data: bytes) -> str | None:
    """``png``, ``jpg``, ``gif`` or ``webp`` by what a file begins with; ``None`` for all others."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((suffix for mark, suffix in _IMAGES if data.startswith(mark)), None)
