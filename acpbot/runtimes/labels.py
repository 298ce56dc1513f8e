"""The labels by which a daemon finds what it has started in an engine or a cluster, and that of no other daemon."""

from __future__ import annotations

import hashlib
from typing import Final

DAEMON: Final = "acpbot.daemon"
SESSION: Final = "acpbot.session"
THREAD: Final = "acpbot.thread"
WARM: Final = "acpbot.warm"
"""Names the agent for whose next session something waits."""

_HASH_CHARS: Final = 16


def thread_label(thread_id: str) -> str:
    """Return what names a thread in a label: not its id, which other users of the engine need not see."""
    return hashlib.sha256(thread_id.encode()).hexdigest()[:_HASH_CHARS]
