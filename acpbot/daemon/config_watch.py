"""Sees that a ConfigMap or Secret of the configuration's folder has changed, so that acpbot reads it again.

The kubelet writes all files of such a volume into a new folder, and then lets the link ``..data`` lead to it: what the
link leads to is always whole. A folder without the link is not watched: an editor may have written half a file.
Source: kubernetes.io/docs/concepts/configuration/configmap, Mounted ConfigMaps are updated automatically.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.aio import DISK
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

log = get_logger(__name__)

_LINK = "..data"


class ConfigWatch:
    """Calls ``changed`` at each :meth:`look` that finds other files; ``source`` is the path of the configuration."""

    def __init__(self, source: str, changed: Callable[[], None]) -> None:
        self._link = Path(source).absolute().parent / _LINK
        self._changed = changed
        self._seen = self._target()

    async def look(self) -> None:
        """Look once."""
        target = await DISK.run(self._target)
        if target is not None and target != self._seen:
            log.info("config_changed", folder=str(self._link.parent))
            self._seen = target
            self._changed()

    def _target(self) -> str | None:
        """Where the link leads to; ``None`` where there is none."""
        try:
            return os.readlink(self._link)  # noqa: PTH115 - the text of the link, and no path
        except OSError:
            return None
