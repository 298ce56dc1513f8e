"""An independent look at this machine's processes, which shares no code with what is tested.

A process of the suite's agent is known by a word among its arguments, whatever its namespace, session or environment.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.kubernetes_cluster import pods_with

if TYPE_CHECKING:
    from tests.runtimes.conformance.places import Place

REMOVAL_SECONDS = 5.0


def pids_with(word: str) -> set[int]:
    """The living Python processes that have this word among their arguments."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                arguments = Path(entry, "cmdline").read_bytes().split(b"\0")
                state = Path(entry, "stat").read_bytes().rpartition(b")")[2].split()[0]
                is_python = arguments[0].rpartition(b"/")[2].startswith(b"python")
                if is_python and word.encode() in arguments and state not in (b"Z", b"X"):
                    found.add(int(entry.name))
    return found


def containers_with(place: Place, word: str) -> list[str]:
    """The ids of the containers that the place's engine has for a session, ended ones too; none without an engine."""
    if place.engine is None:
        return []
    if place.kind == "kubernetes":
        # A pod whose processes have ended is removed in the background.
        deadline = time.monotonic() + REMOVAL_SECONDS
        while (found := pods_with({**os.environ, **place.environ}, word)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found
    program = shutil.which(place.engine)
    assert program is not None
    words = [program, "ps", "--all", "--quiet", "--filter", f"label=acpbot.session={word}"]
    environ = {**os.environ, **place.environ}
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout.split()


class Watched:
    """These processes, by pidfds: another one that gets the same pid is not taken for one of them."""

    def __init__(self, pids: set[int]) -> None:
        self.count = len(pids)
        self._pidfds = [os.pidfd_open(pid) for pid in pids]

    def running(self, seconds: float = 0.0) -> int:
        """How many still run; waits so long for all of them to end."""
        left = 0
        for pidfd in self._pidfds:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            left += not poll.poll(seconds * 1000)
        return left

    def close(self) -> None:
        for pidfd in self._pidfds:
            os.close(pidfd)
        self._pidfds = []
