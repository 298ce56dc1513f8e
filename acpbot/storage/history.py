"""What the store keeps only to be shown: read off the event loop, by a connection of its own."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.times import rfc3339

if TYPE_CHECKING:
    from pathlib import Path

_BUSY_SECONDS: Final = 5.0


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what. ``id`` grows with time; ``uid`` and ``pid`` are ``None`` where acpbot did it by itself."""

    id: int
    at: str
    uid: int | None
    pid: int | None
    method: str
    target: str
    outcome: str


def read_audit(path: Path, *, limit: int, before: int | None, thread: str | None) -> list[AuditEntry]:
    """The newest entries, the newest first: ``limit`` at most, older than ``before``, about ``thread``. Blocks.

    Raises sqlite3.Error.
    """
    rows = _read(
        path,
        "SELECT sequence, at, uid, pid, method, target, outcome FROM audit WHERE (?1 IS NULL OR sequence < ?1) "
        "AND (?2 IS NULL OR target = ?2 OR substr(target, 1, length(?2) + 1) = ?2 || '/') "
        "ORDER BY sequence DESC LIMIT ?3",
        *(before, thread, limit),
    )
    return [
        AuditEntry(id=sequence, at=rfc3339(at), uid=uid, pid=pid, method=method, target=target, outcome=outcome)
        for sequence, at, uid, pid, method, target, outcome in rows
    ]


def _read(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
        return connection.execute(sql, values).fetchall()
