"""Who did what: one log line for every change and every denial, and a row of the store's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.access import Peer
    from acpbot.storage.store import Store

DENIED: Final = "denied"

log = logging.getLogger("acpbot.audit")
log.setLevel(logging.INFO)  # whatever [log] level says: an audit that can be turned off by accident is none

_TARGET_LENGTH: Final = 200


def record(peer: Peer | None, method: str, target: str, outcome: str) -> None:
    """Write it down. ``target``: the thread or session that was named; ``outcome``: what became of it."""
    who = {"uid": None, "pid": None} if peer is None else {"uid": peer.uid, "pid": peer.pid}
    fields = {**who, "method": method, "target": target[:_TARGET_LENGTH], "outcome": outcome}
    log.log(logging.WARNING if outcome == DENIED else logging.INFO, "audit", extra={"fields": fields})


class _Keeper(logging.Handler):
    """Hands the lines on to the store, which keeps them over restarts."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self._store.audited(**record.__dict__["fields"])


def keep(store: Store) -> Callable[[], None]:
    """Keep the audit in the store too, from now on; what ends that."""
    keeper = _Keeper(store)
    log.addHandler(keeper)
    return lambda: log.removeHandler(keeper)


def target_of(params: dict[str, Any]) -> str:
    """What a refused request was aimed at, as far as its parameters say."""
    targets = params.get("targets")
    if isinstance(targets, list):
        return f"{len(targets)} sessions"
    thread = params.get("thread")
    return thread if isinstance(thread, str) else ""
