"""Orphans of our descendants become our children, not those of init (PR_SET_CHILD_SUBREAPER, prctl(2)).

An agent's tool that daemonizes loses its parent, and with it the one link to the agent that can't be faked or
forgotten. As children of this process such orphans are still found, told apart and reaped.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Final

from acpbot.errors import StartError

_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37

_lock: Final = threading.Lock()
_holders = 0


def _set(value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(value), 0, 0, 0) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise StartError(f"cannot become the reaper of agents' orphans: {reason}; Linux 3.4 or later is needed")


def active() -> bool:
    """Whether this process is a child subreaper now."""
    value = ctypes.c_int(0)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0)
    return bool(value.value)


def hold() -> None:
    """Become a child subreaper, until as many `release` calls. Raises `StartError` where the kernel refuses."""
    global _holders  # noqa: PLW0603 - the attribute is one per process, so is its counter
    with _lock:
        if not _holders:
            _set(1)
        _holders += 1


def release() -> None:
    """Give up one `hold`; with the last one, orphans go to init again."""
    global _holders  # noqa: PLW0603 - see hold
    with _lock:
        _holders -= 1
        if not _holders:
            _set(0)
