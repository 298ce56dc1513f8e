"""What earlier daemons have left, as the log says it: what was ended, and volumes that are only reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.logs import get_logger
from acpbot.runtimes.container import volumes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from acpbot.config.settings import Settings
    from acpbot.runtimes.registry import Runtimes
    from acpbot.runtimes.runtime import StoredPlace

log = get_logger(__name__)


class LeftoverLog:
    """Looks for leftovers. A volume is reported once, as long as it stays unused."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    async def look(
        self, runtimes: Runtimes, settings: Settings, stored: Sequence[StoredPlace], live: Collection[str]
    ) -> None:
        """End what no living session owns, and log what was found. Raises as `Runtimes.leftovers`."""
        agents = settings.agents.values()
        used = {name for agent in agents for name in volumes.named(agent.container.volumes)}
        unused = set()
        for left in await runtimes.leftovers(stored, live):
            if left.is_volume:
                if left.place not in used:
                    unused.add(left.place)
                continue
            log.warning(
                "orphan_process_ended",
                runtime=left.runtime,
                place=left.place,
                command=left.command[:200],
                session=left.session_id,
                ended=left.ended,
            )
        for volume in sorted(unused - self._told):
            log.warning("volume_unused", volume=volume, reason="no agent names it; it is kept: remove it by hand")
        self._told = unused
