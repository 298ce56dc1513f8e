"""One pool after another on the same state, as a daemon has that is killed and started again."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from acpbot.storage.store import Store
from tests.support.pool import Harness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class StoredHarness(Harness):
    """A harness with a store."""

    def __init__(self, tmp_path: Path, path: Path, **keys: Any) -> None:
        self.path = path
        self.store = Store.open(path)
        super().__init__(tmp_path, store=self.store, **keys)

    async def killed(self) -> Path:
        """What SIGKILL at this moment would leave: a copy of the file as it is, for another pool. This one goes on."""
        await self.store.durable()
        left = self.path.with_name(f"{self.path.name}.left")
        for suffix in ("", "-wal"):
            source = self.path.with_name(self.path.name + suffix)
            if source.exists():
                shutil.copyfile(source, left.with_name(left.name + suffix))
        return left


@asynccontextmanager
async def started(tmp_path: Path, path: Path | None = None, **keys: Any) -> AsyncIterator[StoredHarness]:
    """A pool on the state in ``path``, from its start to an orderly end."""
    harness = StoredHarness(tmp_path, path or tmp_path / "acpbot.sqlite3", **keys)
    try:
        yield harness
    finally:
        await harness.pool.close(grace_seconds=0.5)
        await harness.launcher.aclose()
        await asyncio.to_thread(harness.store.close)


def rows(path: Path, table: str) -> list[dict[str, Any]]:
    """A table as it is on disk."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: S608 - our own names
    finally:
        connection.close()


class Events(list[dict[str, Any]]):
    """The events of a terminal's chat, for :meth:`LocalChat.open`, and a way to wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def take(self, event: dict[str, Any]) -> None:
        self.append(event)
        self._more.set()

    async def until(self, fits: Callable[[list[dict[str, Any]]], bool]) -> None:
        async with asyncio.timeout(20):
            while not fits(self):
                self._more.clear()
                await self._more.wait()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self if event["type"] == kind]
