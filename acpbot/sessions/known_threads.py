"""Threads that the bot has taken part in. A reset or an expiry forgets their conversations, and not these."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from acpbot.storage.records import KnownThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.storage.store import Store

MOST: Final = 50_000
"""Of more threads, the one that was unused for longest is forgotten."""
_STEP_SECONDS: Final = 86_400.0
"""That a thread is still used is written so often."""


class KnownThreads:
    """By id, the one that is unused for longest first. ``wall``: Unix time."""

    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        known = sorted(store.restored.known_threads, key=lambda thread: thread.used_at)
        self._by_id = OrderedDict((thread.thread_id, thread) for thread in known)

    def get(self, thread_id: str) -> KnownThread | None:
        """What is known of a thread; ``None`` where the bot has never taken part in it."""
        return self._by_id.get(thread_id)

    def used(self, thread_id: str, platform: str) -> KnownThread:
        """The bot takes part in a thread."""
        now, known = self._wall(), self._by_id.get(thread_id)
        if known is None:
            known = self._by_id[thread_id] = KnownThread(thread_id, platform, now)
            self._store.save_known_thread(known)
            if len(self._by_id) > MOST:
                self.forget(next(iter(self._by_id)))
        elif abs(now - known.used_at) >= _STEP_SECONDS:
            self._change(known, used_at=now)
        self._by_id.move_to_end(thread_id)
        return known

    def set_other_bots(self, thread_id: str, *, there: bool) -> None:
        """Other bots have written in a known thread, or have not."""
        known = self._by_id.get(thread_id)
        if known is not None and known.other_bots != there:
            self._change(known, other_bots=there)

    def conversation_expired(self, thread_id: str) -> None:
        """The conversation of a known thread was forgotten without anybody asking for that."""
        known = self._by_id.get(thread_id)
        if known is not None:
            self._change(known, expired=True)

    def take_expired(self, thread_id: str) -> bool:
        """Whether a conversation of the thread has expired, of which the thread has read nothing yet; true once."""
        known = self._by_id.get(thread_id)
        if known is None or not known.expired:
            return False
        self._change(known, expired=False)
        return True

    def begin_anew(self, thread_id: str) -> None:
        """Somebody has had the conversation of a known thread forgotten: what was said before must stay forgotten."""
        known = self._by_id.get(thread_id)
        if known is not None:
            self._change(known, begun_anew_at=self._wall(), expired=False)

    def forget(self, thread_id: str) -> None:
        """The thread is gone for good."""
        if self._by_id.pop(thread_id, None) is not None:
            self._store.forget_known_thread(thread_id)

    def _change(self, known: KnownThread, **changes: float | bool) -> None:
        for name, value in changes.items():
            setattr(known, name, value)
        self._store.save_known_thread(known)
