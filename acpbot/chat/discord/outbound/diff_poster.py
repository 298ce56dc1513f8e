"""The file changes of one turn as messages, each once. Diffs are computed in a thread, not on the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
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
    Shown = tuple[int, int, str, File | None] | None

log = get_logger(__name__)

_DIFFS_MOST: Final = 10
_COMPUTED_MOST: Final = 100
_THREADS: Final = Threads("diff", 2)


class _Change:
    """What one tool call does to one file.

    ``key`` is of its newest texts, ``shown`` of the diff that is posted, ``lines`` of the lines that this changes;
    ``ready`` is done once there is one.
    """

    __slots__ = ("key", "lines", "post", "ready", "shown")

    def __init__(self, post: Post, ready: asyncio.Future[None]) -> None:
        self.key = 0
        self.post = post
        self.ready = ready
        self.shown: int | None = None
        self.lines: int | None = None


class DiffPoster:
    """Posts the diffs in a turn's tool calls to its thread, ten at most, and one for each file of a call.

    Agents send a change of a call again, with more of the file: the newest one takes the place of those before. A
    diff has its place among the thread's messages from the moment :meth:`show` is called. ``compute`` is
    :func:`acpbot.chat.rendering.diffs.diff`; it is called in a thread, once for each different change.
    """

    def __init__(self, outbox: Outbox, pool: Pool, thread_id: str, *, compute: Compute = diff) -> None:
        self._outbox = outbox
        self._pool = pool
        self._thread_id = thread_id
        self._compute = compute
        self._changes: dict[tuple[object, str, int], _Change] = {}
        self._seen: set[int] = set()
        self._shown: set[int] = set()
        self._asked: set[tuple[object, int]] = set()  # ids of calls, and keys of lines that a request has shown
        self._posted = 0

    def show(self, body: dict[str, Any]) -> None:
        """Post the changes in ``body`` (of a tool call, its update or a permission's tool call) that are new."""
        call_id = body.get("toolCallId")
        numbers: Counter[str] = Counter()  # a call may change several places of a file
        for path, old, new in changes(body):
            # Comparing texts that are equal is much cheaper than hashing them.
            if (old or "") == new:
                continue
            key = _key(path, old, new)
            place = call_id, path, numbers[path]
            numbers[path] += 1
            change = self._changes.get(place)
            if key in self._seen or (change is None and self._posted >= _DIFFS_MOST):
                continue
            if change is None:
                ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                change = _Change(self._outbox.post(self._thread_id, "", ready=ready), ready)
                self._changes[place] = change
                self._posted += 1
            elif len(self._seen) >= _COMPUTED_MOST:
                continue
            self._seen.add(key)
            change.key = key
            self._start(path, old, new).add_done_callback(partial(self._computed, place, key))

    def shown_by_request(self, call_id: str | None, content: object) -> None:
        """A permission request shows the changes in ``content`` of this call: they need no message of their own."""
        for path, old, new in changes({"content": content}):
            key = _key(path, old, new)
            self._seen.add(key)
            for place in [place for place, change in self._changes.items() if change.key == key]:
                self._drop(place)
            if len(self._seen) <= _COMPUTED_MOST:
                self._start(path, old, new).add_done_callback(partial(self._request_computed, call_id))

    def _start(self, path: str, old: str | None, new: str) -> asyncio.Future[Shown]:
        session = self._pool.get(self._thread_id)
        folder = "" if session is None else f"{session.cwd}/"
        return asyncio.wrap_future(_THREADS.submit(_render, self._compute, path.removeprefix(folder), old, new))

    def _request_computed(self, call_id: str | None, made: asyncio.Future[Shown]) -> None:
        shown = self._result(made)
        if shown is None:
            return
        self._asked.add((call_id, shown[1]))
        self._shown.add(shown[0])
        for place, change in list(self._changes.items()):
            if place[0] == call_id and change.lines == shown[1]:
                self._drop(place)

    def _drop(self, place: tuple[object, str, int]) -> None:
        change = self._changes.pop(place)
        self._posted -= 1
        change.post.retract()
        if not change.ready.done():
            change.ready.set_result(None)

    def _result(self, made: asyncio.Future[Shown]) -> Shown:
        if made.cancelled():
            return None
        if (error := made.exception()) is not None:
            log.error("diff_crashed", exc_info=error, thread=self._thread_id)
            return None
        return made.result()

    def _computed(self, place: tuple[object, str, int], key: int, made: asyncio.Future[Shown]) -> None:
        shown = self._result(made)
        if shown is not None and (place[0], shown[1]) in self._asked:
            shown = None
        change = self._changes.get(place)
        if change is None or change.key != key:  # a newer one is on its way
            return
        if not change.ready.done():
            change.ready.set_result(None)
        if shown is not None and (shown[0] == change.shown or shown[0] not in self._shown):
            self._put(change, *shown)
        elif change.shown is None:
            self._drop(place)

    def _put(self, change: _Change, shown: int, lines: int, text: str, file: File | None) -> None:
        if change.shown is not None:
            self._shown.discard(change.shown)
            if file is not None or change.post.file is not None:  # an edit can't change the file of a message
                change.post.retract()
                change.post = self._outbox.post(self._thread_id, "")
        self._shown.add(shown)
        change.shown, change.lines = shown, lines
        post = change.post
        post.file = file
        post.on_refused = partial(self._outbox.post, self._thread_id, text)  # without the file: it may not be allowed
        post.show(text)


def _render(compute: Compute, path: str, old: str | None, new: str) -> Shown:
    """Runs in a thread: keys of the diff and of the lines that it changes, its message, and the file of a long one."""
    found = compute(path, old, new)
    if not found.text:
        return None
    block, whole = found.fenced()
    file = None if whole else File(found.filename, found.shown.encode()[:FILE_BYTES_MOST])
    lines = tuple(line for line in found.text.split("\n")[2:] if line.startswith(("+", "-")))
    return hash((found.path, found.text)), hash((found.path, lines)), f"✏️ {found.summary}\n{block}", file


def _key(path: str, old: str | None, new: str) -> int:
    """Of a change; of texts that are too long to be compared only the lengths count."""
    size = len(old or "") + len(new)
    return hash((path, old, new)) if size <= COMPARED_MAX else hash((path, len(old or ""), len(new)))
