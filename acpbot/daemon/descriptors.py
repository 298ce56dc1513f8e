"""The open files of this process: how many it may have, how many it has.

Source: getrlimit(2), fcntl(2), proc_pid_fd(5).
"""

from __future__ import annotations

import fcntl
import os
import resource
from typing import Final

import msgspec

from acpbot.logs import get_logger

log = get_logger(__name__)

PER_SESSION: Final = 4
"""An agent's three pipes, and its pidfd."""
OWN: Final = 14
"""What acpbot itself needs: the database, the sockets, the event loop, the log."""
FEW_LEFT: Final = 16
ENOUGH: Final = 65_536
"""As many as 16,000 sessions need. Some systems allow a thousand million, and there are loops over all of them."""

_UNUSED_RUN: Final = 1024


class OpenFiles(msgspec.Struct, frozen=True):
    """How many files are open, of how many that may be."""

    used: int
    limit: int


def raise_limit() -> tuple[int, int]:
    """Raise the soft limit of open files towards the hard one; return both as they were, which agents are to get.

    The kernel's default of 1,024 is for programs that use select(2); those also slow down where it is high.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, ENOUGH)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:  # ValueError: Python's word for EPERM here
            log.warning("descriptors_not_raised", limit=soft, reason=str(error))
    return soft, hard


def warn_if_few(max_sessions: int) -> None:
    """Log a warning where the limit does not allow for so many sessions."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = PER_SESSION * max_sessions + OWN
    if limit < needed:
        hint = f"set LimitNOFILE= (ulimit -n) to {needed} or more, or lower [pool] max_sessions"
        log.warning("descriptors_too_few", limit=limit, needed=needed, max_sessions=max_sessions, hint=hint)


def open_files() -> OpenFiles:
    """What is open now. It opens nothing, so that it can also tell that nothing can be opened any more."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = os.stat("/proc/self/fd").st_size  # noqa: PTH116 - Linux 6.2 and later: the number of open files
    except OSError:
        used = 0
    return OpenFiles(used or _count(limit), limit)


def _count(limit: int) -> int:
    """Count open descriptors, from 0 up to a long run of unused ones: the kernel gives the lowest first."""
    used = unused = descriptor = 0
    while descriptor < limit and unused < _UNUSED_RUN:
        try:
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
        except OSError:
            unused += 1
        else:
            used += 1
            unused = 0
        descriptor += 1
    return used
