"""The processes of a session as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from acpbot.sessions.views import ProcessRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.runtimes.runtime import ProcessInfo


def process_tree(found: Sequence[ProcessInfo]) -> list[ProcessRow]:
    """The processes depth first, children below their parents; what has no parent among them stands at depth 0."""
    pids = {info.pid for info in found}
    below: dict[int, list[ProcessInfo]] = {}
    for info in sorted(found, key=lambda info: info.start_time):
        below.setdefault(info.ppid if info.ppid in pids else 0, []).append(info)
    rows: list[ProcessRow] = []

    def walk(parent: int, depth: int) -> None:
        for info in below.get(parent, []):
            rows.append(
                ProcessRow(
                    pid=info.pid,
                    ppid=info.ppid,
                    depth=depth,
                    command=info.command,
                    state=info.state,
                    rss_bytes=info.rss_bytes,
                    cpu_seconds=round(info.cpu_seconds, 2),
                    age_seconds=round(info.age_seconds, 1),
                )
            )
            walk(info.pid, depth + 1)

    walk(0, 0)
    return rows


def totals(tree: Sequence[ProcessRow]) -> dict[str, Any]:
    """What a tree adds up to, under the names of a row; nothing for an empty one."""
    if not tree:
        return {}
    return {
        "processes": len(tree),
        "rss_bytes": sum(row.rss_bytes for row in tree),
        "cpu_seconds": round(sum(row.cpu_seconds for row in tree), 2),
    }
