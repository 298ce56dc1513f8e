"""Opens the database, and waits for a daemon on another host that still uses it.

So it is in Kubernetes when a pod is deleted: the next one starts at once, while the one before lets its turns end. On
the same host nobody waits: there somebody has started a second daemon.
Source: kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle, Termination of Pods.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from acpbot.aio import in_thread
from acpbot.errors import InUse
from acpbot.logs import get_logger
from acpbot.storage.store import Store

if TYPE_CHECKING:
    from acpbot.config.settings import Settings

log = get_logger(__name__)

RETRY_SECONDS: Final = 1.0
_LAST_STEPS_SECONDS: Final = 25.0  # what a stubborn agent and a last message may take, as packaging/kubernetes has it


async def open_store(settings: Settings, stop: asyncio.Event, retry_seconds: float = RETRY_SECONDS) -> Store:
    """Open the store of these settings; wait for a daemon elsewhere no longer than its end may take.

    ``stop`` ends the wait. Raises StartError, of which InUse is one.
    """
    wait = settings.shutdown.drain_seconds + settings.pool.grace_seconds + _LAST_STEPS_SECONDS
    until = asyncio.get_running_loop().time() + wait
    waits = False
    while True:
        try:
            return await in_thread("store", Store.open, settings.store.path)
        except InUse as in_use:
            if not in_use.elsewhere or stop.is_set() or asyncio.get_running_loop().time() >= until:
                raise
            if not waits:
                log.warning("database_in_use", reason=str(in_use).removeprefix("cannot start: "), wait_seconds=wait)
                waits = True
        try:
            await asyncio.wait_for(stop.wait(), retry_seconds)
        except TimeoutError:
            continue
