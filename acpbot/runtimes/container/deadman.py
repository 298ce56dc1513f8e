"""One process for each daemon and engine that ends the daemon's containers once the daemon is gone."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from acpbot.logs import get_logger
from acpbot.runtimes.container import deadman_program
from acpbot.runtimes.container.client import Client

if TYPE_CHECKING:
    from acpbot.runtimes.container.engine import Engine

log = get_logger(__name__)


class DeadMan:
    """Holds the process; :meth:`ensure` starts it, and again where somebody has ended it."""

    def __init__(self, engine: Engine, label: str) -> None:
        self._engine = engine
        self._label = label
        self._client: Client | None = None
        self._lock = asyncio.Lock()

    async def ensure(self) -> None:
        """Have the process run. Raises OSError where it can't be started."""
        async with self._lock:
            if self._client is not None:
                return
            argv = [sys.executable, "-I", "-S", deadman_program.__file__, self._engine.program, self._label]
            child = await self._engine.start_program(argv)
            self._client = Client(child, on_stdout=_ignore, on_stderr=_ignore, on_exit=self._on_exit)

    def release(self) -> None:
        """End it: nothing is left for it to end."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _on_exit(self, code: int) -> None:
        log.warning("container_deadman_ended", engine=self._engine.name, code=code)
        if self._client is not None:
            self._client.close()
            self._client = None


def _ignore(_: bytes) -> None:
    """It writes nothing."""
