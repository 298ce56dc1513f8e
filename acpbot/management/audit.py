"""Who did what: one log line and one row of the store for every change, and for denials that are alike."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from acpbot.storage.store import DENIED

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.access import PeerCredentials
    from acpbot.storage.records import AuditEntry
    from acpbot.storage.store import Store

LOGGER: Final = "acpbot.audit"
MERGE_SECONDS: Final = 300.0
"""Denials that are alike are one entry for so long."""
MERGED_MOST: Final = 64
"""So many entries for single processes, and again as many for users, are open at a time."""

_TARGET_LENGTH: Final = 200


class _Key(NamedTuple):
    uid: int | None
    pid: int | None
    method: str


class _Merged(msgspec.Struct):
    began: float
    target: str
    more: int = 0


class Audit:
    """Writes each entry to the log and to ``store``, which keeps it over restarts.

    Anybody may be denied as often as they like. So only the first of the denials of one process and method is written
    at once, and :meth:`flush` writes how many followed. Where very many processes are denied, those of a user are
    merged; where very many users are, all are. ``clock``: seconds, monotonic.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._merged: dict[_Key, _Merged] = {}
        self._logger = logging.getLogger(LOGGER)
        self._logger.setLevel(logging.INFO)  # whatever [log] level says: nobody turns the audit off by accident

    def record(self, peer: PeerCredentials | None, method: str, target: str, outcome: str) -> None:
        """Write one entry. ``target``: the thread or session that was named; ``outcome``: what became of it."""
        key = _Key(None, None, method) if peer is None else _Key(peer.uid, peer.pid, method)
        target = target[:_TARGET_LENGTH]
        if outcome == DENIED:
            self.flush()
            key = self._merge_key(key)
            if (merged := self._merged.get(key)) is not None:
                merged.more += 1
                return
            self._merged[key] = _Merged(self._clock(), target)
        self._log(key, target, outcome)
        self._store.audited(key.uid, key.pid, method, target, outcome)

    async def entries(self, *, limit: int, before: int | None, thread: str | None) -> list[AuditEntry]:
        """The newest entries, the newest first: as :meth:`Store.audit`."""
        return await self._store.audit(limit=limit, before=before, thread=thread)

    def flush(self, *, everything: bool = False) -> None:
        """Write how often denials were repeated whose time is over; ``everything``: those of all."""
        until = self._clock() - MERGE_SECONDS
        for key, merged in tuple(self._merged.items()):  # in the order in which they began
            if merged.began > until and not everything:
                return
            del self._merged[key]
            if merged.more:
                self._log(key, merged.target, DENIED, repeated=merged.more)
                self._store.denied_again(*key, merged.more)

    def _merge_key(self, key: _Key) -> _Key:
        if key in self._merged or len(self._merged) < MERGED_MOST:
            return key
        of_user = key._replace(pid=None)
        if of_user in self._merged or len(self._merged) < 2 * MERGED_MOST:
            return of_user
        return _Key(None, None, key.method)

    def _log(self, key: _Key, target: str, outcome: str, **more: int) -> None:
        fields = {**key._asdict(), "target": target, "outcome": outcome, **more}
        self._logger.log(logging.WARNING if outcome == DENIED else logging.INFO, "audit", extra={"fields": fields})


def target_of(params: dict[str, Any]) -> str:
    """What a refused request was aimed at, as far as its parameters say."""
    targets = params.get("targets")
    if isinstance(targets, list):
        return f"{len(targets)} sessions"
    target = params.get("thread") or params.get("channel")
    return target if isinstance(target, str) else ""
