"""Keeps what the daemon knows from the processes that run as the same user, as agents do.

Root, and whoever has CAP_SYS_PTRACE, can read it all the same.
Source: PR_SET_DUMPABLE in prctl(2), RLIMIT_CORE in getrlimit(2), /proc/PID/environ and /proc/PID/stat in proc(5).
"""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

_PR_SET_DUMPABLE: Final = 4
_AFTER_COMMAND: Final = b") "  # the command's name, in parentheses, may itself hold spaces and parentheses
_ENV_START: Final = 50 - 3  # numbered as in proc(5), from the field after the command on


def protect_memory() -> None:
    """Let no process of the same user read our memory, environment or descriptors, nor trace us; dump no core.

    A program that a child executes is readable again, as prctl(2) says; the limit of core dumps it inherits.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0)  # 0 is always accepted
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def forget_variables(environ: MutableMapping[str, str], names: Iterable[str]) -> None:
    """Remove these variables from ``environ``, and overwrite the values with which this process was started.

    The kernel keeps those in the process's own memory, where /proc/PID/environ shows them to root.
    """
    values = {}
    for name in names:
        value = environ.pop(name, None)  # of os.environ: the C library's list points to it no more
        if value:
            values[f"{name}={value}".encode(errors="surrogateescape")] = len(value.encode(errors="surrogateescape"))
    if values:
        _overwrite(values)


def _overwrite(values: dict[bytes, int]) -> None:
    """Overwrite the last so many bytes of each of these entries of the environment.

    It is read from memory: /proc/self/environ is root's once the memory is protected.
    """
    stat = Path("/proc/self/stat").read_bytes().rpartition(_AFTER_COMMAND)[2].split()
    start, end = int(stat[_ENV_START]), int(stat[_ENV_START + 1])
    at = start
    for entry in ctypes.string_at(start, end - start).split(b"\0"):
        if entry in values:
            ctypes.memset(at + len(entry) - values[entry], 0, values[entry])
        at += len(entry) + 1
