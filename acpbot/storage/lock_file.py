"""One process at a time: a lock file with its holder's pid, never taken over, never unlinked. Source: flock(2)."""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

from acpbot.errors import StartError
from acpbot.text import operator_line

if TYPE_CHECKING:
    from pathlib import Path

_TRIES: Final = 5


def take_lock(folder: int, path: Path, busy: str, way_out: str) -> int:
    """A descriptor that holds the lock file ``path`` until it is closed; our pid is in the file.

    ``folder`` is a descriptor of the file's folder. ``busy`` is the error where another process holds the lock, with
    its pid in place of ``{pid}``; ``way_out`` ends the error where the file can't be used. Raises StartError, OSError.
    The file stays: a lock that is unlinked can be held twice.
    """
    for _ in range(_TRIES):
        lock = os.open(path.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        try:
            _check(lock, path, way_out)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
                raise StartError(operator_line(busy.replace("{pid}", holder))) from None
            if is_at(lock, path.name, folder):
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # somebody removed the file between open and flock: our lock protects nothing
    raise StartError(operator_line(f"cannot use {path}: somebody keeps removing it; find out who, {way_out}"))


def _check(lock: int, path: Path, way_out: str) -> None:
    """Refuse a file that in a folder such as /tmp may be another user's, or a link to one of our files."""
    status = os.fstat(lock)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_uid != os.geteuid():
        raise StartError(operator_line(f"cannot use {path}: it is not a plain file of ours; remove it {way_out}"))


def is_at(descriptor: int, name: str, folder: int) -> bool:
    """Whether the file of this name in the folder (a descriptor) is the one that ``descriptor`` has open."""
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
