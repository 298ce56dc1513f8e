"""The file changes of one turn as messages, each once. Diffs are computed in a thread, not on the event loop."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from acpbot.aio import Threads
from acpbot.chat.discord.outbound.rest import FILE_BYTES_MOST, File
from acpbot.chat.rendering.diffs import COMPARED_MAX, changes, diff
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.post import Post
    from acpbot.chat.rendering.diffs import Diff
    from acpbot.sessions.pool import Pool

    Compute = Callable[[str, str | None, str], Diff]
    Shown = tuple[int, str, File | None] | None

log = get_logger(__name__)

_DIFFS_MOST: Final = 10
_THREADS: Final = Threads("diff", 2)


class DiffPoster:
    """Posts the diffs in a turn's tool calls to its thread, ten at most.

    A diff has its place among the thread's messages from the moment :meth:`show` is called. ``compute`` is
    :func:`acpbot.chat.rendering.diffs.diff`; it is called in a thread, once for each different change.
    """

    def __init__(self, outbox: Outbox, pool: Pool, thread_id: str, *, compute: Compute = diff) -> None:
        self._outbox = outbox
        self._pool = pool
        self._thread_id = thread_id
        self._compute = compute
        self._seen: set[int] = set()
        self._shown: set[int] = set()
        self._posted = 0

    def show(self, body: dict[str, Any]) -> None:
        """Post the changes in ``body`` (of a tool call, its update or a permission's tool call) that are new."""
        if self._posted >= _DIFFS_MOST:
            return
        session = self._pool.get(self._thread_id)
        folder = "" if session is None else f"{session.cwd}/"
        for path, old, new in changes(body):
            # Comparing texts that are equal is much cheaper than hashing them; of very long ones only counts are shown.
            if (old or "") == new:
                continue
            size = len(old or "") + len(new)
            key = hash((path, old, new)) if size <= COMPARED_MAX else hash((path, len(old or ""), len(new)))
            if key in self._seen:
                continue
            if self._posted >= _DIFFS_MOST:
                return
            self._seen.add(key)
            self._posted += 1
            made = asyncio.wrap_future(_THREADS.submit(_render, self._compute, path.removeprefix(folder), old, new))
            post = self._outbox.post(self._thread_id, "", ready=made)
            made.add_done_callback(partial(self._computed, post))

    def _computed(self, post: Post, made: asyncio.Future[Shown]) -> None:
        if made.cancelled() or (error := made.exception()) is not None:
            if not made.cancelled():
                log.error("diff_crashed", exc_info=error, thread=self._thread_id)
            shown = None
        else:
            shown = made.result()
        if shown is None or shown[0] in self._shown:
            self._posted -= 1
            post.retract()
            return
        key, text, post.file = shown
        self._shown.add(key)
        post.on_refused = partial(self._outbox.post, self._thread_id, text)  # without the file: it may not be allowed
        post.show(text)


def _render(compute: Compute, path: str, old: str | None, new: str) -> Shown:
    """Runs in a thread: a key of the diff, its message, and its file where the message is only its beginning."""
    found = compute(path, old, new)
    if not found.text:
        return None
    block, whole = found.fenced()
    file = None if whole else File(found.filename, found.shown.encode()[:FILE_BYTES_MOST])
    return hash((found.path, found.text)), f"✏️ {found.summary}\n{block}", file
