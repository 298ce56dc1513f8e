"""Who did what: one log line and one row of the store for every change and every denial."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from acpbot.management.access import PeerCredentials
    from acpbot.storage.store import Store

DENIED: Final = "denied"
LOGGER: Final = "acpbot.audit"

_TARGET_LENGTH: Final = 200


class Audit:
    """Writes each entry to the log and to ``store``, which keeps it over restarts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logger = logging.getLogger(LOGGER)
        self._logger.setLevel(logging.INFO)  # whatever [log] level says: nobody turns the audit off by accident

    def record(self, peer: PeerCredentials | None, method: str, target: str, outcome: str) -> None:
        """Write one entry. ``target``: the thread or session that was named; ``outcome``: what became of it."""
        uid, pid = (None, None) if peer is None else (peer.uid, peer.pid)
        target = target[:_TARGET_LENGTH]
        fields = {"uid": uid, "pid": pid, "method": method, "target": target, "outcome": outcome}
        self._logger.log(logging.WARNING if outcome == DENIED else logging.INFO, "audit", extra={"fields": fields})
        self._store.audited(uid, pid, method, target, outcome)


def target_of(params: dict[str, Any]) -> str:
    """What a refused request was aimed at, as far as its parameters say."""
    targets = params.get("targets")
    if isinstance(targets, list):
        return f"{len(targets)} sessions"
    thread = params.get("thread")
    return thread if isinstance(thread, str) else ""
