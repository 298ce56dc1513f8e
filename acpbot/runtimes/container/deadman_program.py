"""The program that ends a daemon's containers once the daemon is gone, whatever has ended it.

It has a pipe from the daemon as its stdin, and nobody writes to it: the end of the stream is the daemon's end. It runs
as ``python -I -S -c``, and imports only what loads at once. Signals that are meant for the daemon do not end it.

Arguments: the path of the engine's client, and the label that all containers of the daemon have.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CALL_SECONDS = 30
PAUSE_SECONDS = 1
LOOKS_MOST = 60
CLEAN_LOOKS = 3
_READ_BYTES = 4096


def main(program: str, label: str) -> None:
    """Wait for the daemon's end, then end its containers."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, _READ_BYTES):
        pass
    end_containers(program, label, time.sleep)


def end_containers(program: str, label: str, pause: Callable[[float], object]) -> None:
    """Remove the containers with this label until some looks in a row find none.

    A container may be on its way into the engine's records while the first looks are taken. An engine that can't be
    asked is asked again. ``pause`` gets the seconds between two looks.
    """
    clean = 0
    for _ in range(LOOKS_MOST):
        found = call(program, "ps", "--all", "--no-trunc", "--quiet", "--filter", f"label={label}")
        clean = clean + 1 if found == [] else 0
        if clean >= CLEAN_LOOKS:
            return
        if found:
            call(program, "rm", "--force", "--volumes", *found)
        else:
            pause(PAUSE_SECONDS)


def call(*argv: str) -> list[str] | None:
    """Return the words that a call has written, ``None`` where it has failed or takes too long."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=CALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode().split() if done.returncode == 0 else None


if __name__ == "__main__":
    main(*sys.argv[1:])
