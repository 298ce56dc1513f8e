"""The management socket: one daemon's for life, never taken from a living one, gone when the daemon goes.

Source: unix(7), flock(2), sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

from acpbot.errors import ConfigError, StartError

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

_BACKLOG: Final = 128
_FIRST_LISTEN_FD: Final = 3


class Listener:
    """Binds in :meth:`open`, gives everything back in :meth:`close`; members of ``group`` may use the socket too."""

    def __init__(self, path: Path, group: str | None = None) -> None:
        self.path = path
        self._group = group
        self._lock: int | None = None
        self._inode: tuple[int, int] | None = None
        self.socket: socket.socket | None = None

    def open(self) -> socket.socket:
        """The listening socket. Raises StartError, ConfigError."""
        gid = self._gid()
        try:
            self._make_folder(gid)
            self._take_lock()
            self.socket = self._bind(gid)
        except OSError as error:
            self.close()
            raise StartError(f"cannot start: {self.path}: {error.strerror or error}; mend the folder") from None
        except (StartError, ConfigError):
            self.close()
            raise
        return self.socket

    def _gid(self) -> int | None:
        if self._group is None:
            return None
        try:
            return grp.getgrnam(self._group).gr_gid
        except KeyError:
            raise ConfigError(
                f"cannot use [management] socket_group: there is no group {self._group!r}; make it, or name another"
            ) from None

    def _make_folder(self, gid: int | None) -> None:
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            self._check_folder(folder)
            return
        if gid is not None:
            os.chown(folder, -1, gid)
            folder.chmod(0o750)

    def _check_folder(self, folder: Path) -> None:
        status = folder.stat()
        mend = f"run chmod go-w {folder}, or choose another with --socket"
        if not stat.S_ISDIR(status.st_mode):
            raise StartError(f"cannot start: {folder} is not a directory; choose another place with --socket")
        if status.st_uid not in {0, os.geteuid()}:
            raise StartError(f"cannot start: {folder} belongs to uid {status.st_uid}; choose another with --socket")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise StartError(f"cannot start: others can write {folder}, and could take the socket's place; {mend}")

    def _take_lock(self) -> None:
        lock_path = self.path.with_name("acpbot.lock")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(lock_path, flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise StartError(f"cannot start: acpbot (pid {holder}) already serves {self.path}") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _bind(self, gid: int | None) -> socket.socket:
        """Bind another name, set its mode, listen, and only then put it in place: no client ever meets less."""
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            _bind_at(listening, temporary)
            temporary.chmod(0o600 if gid is None else 0o660)
            if gid is not None:
                os.chown(temporary, -1, gid)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
            status = temporary.stat()
            temporary.rename(self.path)
        except BaseException:
            listening.close()
            temporary.unlink(missing_ok=True)
            raise
        self._inode = (status.st_dev, status.st_ino)
        return listening

    def close(self) -> None:
        """Unlink the socket if it is still ours, and give the lock back."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        if self._inode is not None:
            with contextlib.suppress(FileNotFoundError):
                status = self.path.lstat()
                if (status.st_dev, status.st_ino) == self._inode:
                    self.path.unlink()
            self._inode = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _bind_at(listening: socket.socket, path: Path) -> None:
    """Bind by the folder's descriptor, so that the temporary name may be longer than sun_path allows."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def inherited(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The listening Unix socket that systemd hands over (``LISTEN_FDS``), if it does. Raises StartError.

    The variables are taken out of ``environ``: children must not believe that they are meant.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        return None
    if int(count) > 1:
        raise StartError(f"cannot start: systemd handed over {count} sockets; the socket unit needs one ListenStream=")
    try:
        os.set_inheritable(_FIRST_LISTEN_FD, False)
        listening = socket.socket(fileno=_FIRST_LISTEN_FD)
        accepting = listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartError(f"cannot start: the socket from systemd can't be used: {error.strerror}") from None
    if listening.family != socket.AF_UNIX or listening.type != socket.SOCK_STREAM or not accepting:
        listening.close()
        raise StartError("cannot start: systemd handed over no listening Unix stream socket; see acpbot.socket")
    listening.setblocking(False)
    return listening
