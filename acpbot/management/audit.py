"""Who did what: one log line for every change and every denial."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from acpbot.management.access import Peer

log = logging.getLogger("acpbot.audit")

_TARGET_LENGTH: Final = 500


def record(peer: Peer | None, method: str, target: str, outcome: str) -> None:
    """Write it down. ``target``: the threads and sessions that were named; ``outcome``: what became of it."""
    who = {"uid": None, "pid": None} if peer is None else {"uid": peer.uid, "pid": peer.pid}
    fields = {**who, "method": method, "target": target[:_TARGET_LENGTH], "outcome": outcome}
    log.info("audit", extra={"fields": fields})
