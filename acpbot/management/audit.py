"""Who did what: one log line for every change and every denial."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from acpbot.management.access import Peer

DENIED: Final = "denied"

log = logging.getLogger("acpbot.audit")
log.setLevel(logging.INFO)  # whatever [log] level says: an audit that can be turned off by accident is none

_TARGET_LENGTH: Final = 200


def record(peer: Peer | None, method: str, target: str, outcome: str) -> None:
    """Write it down. ``target``: the thread or session that was named; ``outcome``: what became of it."""
    who = {"uid": None, "pid": None} if peer is None else {"uid": peer.uid, "pid": peer.pid}
    fields = {**who, "method": method, "target": target[:_TARGET_LENGTH], "outcome": outcome}
    log.log(logging.WARNING if outcome == DENIED else logging.INFO, "audit", extra={"fields": fields})


def target_of(params: dict[str, Any]) -> str:
    """What a refused request was aimed at, as far as its parameters say."""
    targets = params.get("targets")
    if isinstance(targets, list):
        return f"{len(targets)} sessions"
    thread = params.get("thread")
    return thread if isinstance(thread, str) else ""
