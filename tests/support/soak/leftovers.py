"""What a daemon leaves behind: processes, and its database. Read from /proc and with sqlite3 only."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple


class Marked(NamedTuple):
    """A running process with a daemon's markers in its environment: an agent, or a tool of one."""

    pid: int
    session: str
    daemon: tuple[int, int]
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} of session {self.session}: {self.command}"


def start_time(pid: int) -> int:
    """In clock ticks since boot (proc(5)): with the pid it names one process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def marked() -> list[Marked]:
    """Every running one; zombies have no environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        pairs = dict(item.split("=", 1) for item in environ.decode(errors="replace").split("\0") if "=" in item)
        session, daemon = pairs.get("ACPBOT_SESSION", ""), pairs.get("ACPBOT_DAEMON", "").split(":")
        if session or len(daemon) > 1:
            key = (int(daemon[1]), int(daemon[2])) if len(daemon) == 3 else (0, 0)  # namespace:pid:start time
            found.append(Marked(int(entry.name), session, key, command))
    return found


def integrity(path: Path) -> str | None:
    """What ``PRAGMA integrity_check`` says of a database that nobody has open; ``None`` where there is none.

    Opened read-only: what a dead daemon left in the write-ahead log is read too, and stays there.
    """
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return "\n".join(str(row[0]) for row in database.execute("PRAGMA integrity_check"))
    except sqlite3.Error as error:
        return f"cannot be read: {error}"
