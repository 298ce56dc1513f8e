"""The lines of stdin, read so that a signal is obeyed at whatever moment it comes.

Python runs a signal's handler between two steps of the main thread, so that one that comes right before a blocking
read would wait until that returns (signal, 'Execution of Python signal handlers'). Here it wakes the wait for input.
"""

from __future__ import annotations

import os
import select
import signal

TYPE_CHECKING = False  # typing costs a fifth of the start-up
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65_536


def lines(stdin: int) -> Iterator[bytes]:
    """The lines of a file descriptor, without their ends, and at last what has none; for the main thread, once.

    Raises OSError, as for a terminal that hung up.
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
