"""Volumes that the operator names: made with the daemon's label, and found again. They are never removed here.

What a volume holds is somebody's data, such as a cache or a login. Sources: podman-volume-create(1),
docs.docker.com/reference/cli/docker/volume.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acpbot.runtimes.container.engine import Engine

log = get_logger(__name__)


def named(volumes: Iterable[str]) -> list[str]:
    """Return the names of volumes among ``SOURCE:TARGET``; a source with a slash is a folder of this machine."""
    sources = (volume.partition(":")[0] for volume in volumes)
    return list(dict.fromkeys(source for source in sources if "/" not in source and not source.startswith((".", "~"))))


class Volumes:
    """The named volumes of one engine. ``label``: what those have that this daemon has made."""

    def __init__(self, engine: Engine, label: str) -> None:
        self._engine = engine
        self._label = label
        self._there: set[str] = set()

    async def make(self, volumes: Iterable[str]) -> None:
        """Make those that are not there, with the label. Raises EngineUnreachable.

        Where one can't be made, the creation of the container says why.
        """
        for name in named(volumes):
            if name in self._there:
                continue
            if (await self._engine.call("volume", "inspect", name)).code != 0:
                made = await self._engine.call("volume", "create", "--label", self._label, name)
                if made.code != 0:
                    log.warning("volume_not_made", volume=name, reason=made.err.strip()[:200])
                    continue
                log.info("volume_made", volume=name)
            self._there.add(name)

    async def unused(self) -> list[str]:
        """Return those of this daemon that no container uses now. Raises EngineUnreachable."""
        own = await self._names(f"label={self._label}")
        # Two calls: with two filters, Podman 4 lists what either of them takes.
        return sorted(own & await self._names("dangling=true")) if own else []

    async def _names(self, condition: str) -> set[str]:
        return set((await self._engine.ask("volume", "ls", "--quiet", "--filter", condition)).split())
