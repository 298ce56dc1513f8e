"""One process at a time: a lock file with its holder's pid, never taken over, never unlinked. Source: flock(2)."""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING, Final

from acpbot.errors import InUse, StartError
from acpbot.text import operator_line

if TYPE_CHECKING:
    from pathlib import Path

_TRIES: Final = 5
_MOST_BYTES: Final = 128


def take_lock(folder: int, path: Path, busy: str, way_out: str, *, shared_by_hosts: bool = False) -> int:
    """A descriptor that holds the lock file ``path`` until it is closed; our pid is in the file.

    ``folder`` is a descriptor of the file's folder. ``busy`` is the error where another process holds the lock, with
    its pid in place of ``{pid}``; ``way_out`` ends the error where the file can't be used. ``shared_by_hosts``: the
    file's second line is the name of the host, which in a pod is the pod's own. Raises InUse, StartError, OSError.
    The file stays: a lock that is unlinked can be held twice.
    """
    for _ in range(_TRIES):
        lock = os.open(path.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        try:
            _check(lock, path, way_out)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid, host = _holder(lock)
                elsewhere = host not in {"", os.uname().nodename}
                where = f"{pid} on {host}" if elsewhere else pid
                raise InUse(operator_line(busy.replace("{pid}", where)), elsewhere=elsewhere) from None
            if is_at(lock, path.name, folder):
                os.ftruncate(lock, 0)
                host = f"{os.uname().nodename}\n" if shared_by_hosts else ""
                os.pwrite(lock, f"{os.getpid()}\n{host}".encode()[:_MOST_BYTES], 0)
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # somebody removed the file between open and flock: our lock protects nothing
    raise StartError(operator_line(f"cannot use {path}: somebody keeps removing it; find out who, {way_out}"))


def _holder(lock: int) -> tuple[str, str]:
    """The pid and the host of the process that holds the lock; the host is empty where the file does not say."""
    lines = os.pread(lock, _MOST_BYTES, 0).decode(errors="replace").splitlines()
    pid, host, *_ = (*lines, "", "")
    return pid.strip() or "unknown", host.strip()


def _check(lock: int, path: Path, way_out: str) -> None:
    """Refuse a file that in a folder such as /tmp may be another user's, or a link to one of our files."""
    status = os.fstat(lock)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_uid != os.geteuid():
        raise StartError(
            operator_line(f"cannot use {path}: it is not a regular file of acpbot's user; remove it {way_out}")
        )


def is_at(descriptor: int, name: str, folder: int) -> bool:
    """Whether the file of this name in the folder (a descriptor) is the one that ``descriptor`` has open."""
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
