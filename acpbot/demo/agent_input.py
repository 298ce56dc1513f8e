"""Read the lines of stdin so that a signal is handled at once.

Python runs a signal handler between two instructions of the main thread. If the signal arrives right before a blocking
read, the handler would wait for that read (signal, 'Execution of Python signal handlers'). Here it ends the wait.
"""

from __future__ import annotations

import os
import select
import signal

TYPE_CHECKING = False  # importing typing takes a fifth of the start-up time
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65_536


def lines(stdin: int) -> Iterator[bytes]:
    """The lines of a file descriptor without their newlines, the last one also where it has none.

    Call it once, in the main thread. Raises OSError, for example where a terminal has hung up.
    """
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    begun: list[bytes] = []
    while True:
        ready = select.select([stdin, woken], [], [])[0]
        if woken in ready:
            os.read(woken, _CHUNK)
        if stdin not in ready:
            continue
        data = os.read(stdin, _CHUNK)
        if not data:
            break
        *ended, rest = data.split(b"\n")
        for line in ended:
            yield b"".join([*begun, line])
            begun.clear()
        if rest:
            begun.append(rest)
    if begun:
        yield b"".join(begun)
