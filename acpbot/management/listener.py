"""The management socket: bound by one daemon at a time, never taken from a running one, removed when it stops.

Source: unix(7), flock(2), rename(2), sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import stat
import threading
from typing import TYPE_CHECKING, Final

from acpbot.config.paths import SOCKET_PATH_LIMIT, check_socket
from acpbot.errors import ConfigError, StartError
from acpbot.management.access import PeerProcess, may_be_an_agents, peer_of
from acpbot.management.socket_folder import ELSEWHERE, foreign_group, open_folder
from acpbot.storage.lock_file import is_at, take_lock
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from pathlib import Path

_BACKLOG: Final = 128
_FIRST_LISTEN_FD: Final = 3


class Listener:
    """Binds in :meth:`open`, and releases everything in :meth:`close`; members of ``group`` may use the socket too.

    The folder of ``path`` is made where it is missing (mode 0700, with a group 0750); the socket is 0600 (0660).
    ``is_of_an_agent``: see :class:`acpbot.management.method.Services`. The methods may be called in different threads.
    """

    def __init__(
        self, path: Path, group: str | None = None, *, is_of_an_agent: Callable[[int], bool | None] = lambda _pid: False
    ) -> None:
        self.path = check_socket(path.absolute(), "the management socket")
        self.socket: socket.socket | None = None
        self._group = group
        self._is_of_an_agent = is_of_an_agent
        self._one_at_a_time = threading.Lock()
        self._folder: int | None = None
        self._lock: int | None = None
        self._bound: os.stat_result | None = None

    def open(self) -> socket.socket:
        """Bind, and return the listening socket. Raises StartError, ConfigError."""
        gid = None if self._group is None else _gid(self._group)
        try:
            self._folder = open_folder(self.path.parent, gid)
            busy = f"cannot start: acpbot (pid {{pid}}) already serves {self.path}"
            self._lock = take_lock(self._folder, self._lock_path, busy, ELSEWHERE)
            self.socket = self._bind(self._folder, gid, self._check_replaceable)
        except OSError as error:
            self.close()
            reason = f"cannot serve {self.path}: {error.strerror or error}; correct it, or choose another with --socket"
            raise StartError(operator_line(reason)) from None
        except BaseException:
            self.close()
            raise
        return self.socket

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(self.path.name.removesuffix(".sock") + ".lock")

    # While it serves.

    def lost(self) -> str | None:
        """Why clients do not reach the socket by its path, as a clause, or ``None``."""
        with self._one_at_a_time:
            return None if self._bound is None else _not_at(self.path, self._bound)

    def bind_again(self) -> socket.socket:
        """Bind another socket at the path, where no other daemon has the lock there; the one before stays open.

        A folder that is missing is made again, and the lock is taken in it. Replaced are symbolic links, sockets that
        nobody listens on, and those of an agent; whatever else is at the path is left alone. Raises StartError,
        ConfigError, OSError.
        """
        with self._one_at_a_time:
            if self._lock is None:
                raise StartError(operator_line(f"cannot serve {self.path}: acpbot is stopping"))
            gid = None if self._group is None else _gid(self._group)
            folder, lock = open_folder(self.path.parent, gid), self._lock
            try:
                if not is_at(lock, self._lock_path.name, folder):
                    busy = f"cannot serve {self.path}: acpbot (pid {{pid}}) serves it now; end one of the two"
                    lock = take_lock(folder, self._lock_path, busy, ELSEWHERE)
                listening = self._bind(folder, gid, self._check_not_anothers)
            except BaseException:
                os.close(folder)
                if lock != self._lock:
                    os.close(lock)
                raise
            if lock != self._lock:
                os.close(self._lock)
            if self._folder is not None:
                os.close(self._folder)
            self.socket, self._folder, self._lock = listening, folder, lock
            return listening

    def _check_not_anothers(self, folder: int) -> None:
        try:
            if stat.S_ISLNK(os.stat(self.path.name, dir_fd=folder, follow_symlinks=False).st_mode):
                return  # it holds no data, and leads our clients elsewhere
        except FileNotFoundError:
            return
        self._check_replaceable(folder, self._is_a_fake)

    def _is_a_fake(self, client: socket.socket, result: int) -> bool:
        """Whether an agent listens where ``client`` tried to connect, or a process that has ended, or it takes nobody.

        No other acpbot does: we have the lock. ``result``: an errno, or 0 where the client is connected.
        """
        if result != 0:
            return result == errno.EAGAIN  # the backlog is full, so nobody can tell who listens
        peer = peer_of(client)
        if peer is None or not may_be_an_agents(peer):
            return False
        process = PeerProcess(client, peer.pid)
        try:
            return not process.alive or bool(self._is_of_an_agent(peer.pid))
        finally:
            process.close()

    # Binding.

    def _bind(self, folder: int, gid: int | None, check: Callable[[int], None]) -> socket.socket:
        """Bind a temporary name, set its mode, listen, and only then rename it: clients never see it half ready."""
        temporary = f".{self.path.name}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)  # left by a daemon that was killed here; the lock shows that it is gone
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            listening.bind(self._address(folder, temporary))
            bound = os.stat(temporary, dir_fd=folder, follow_symlinks=False)
            if gid is not None:
                _hand_over(folder, temporary, gid)
            os.chmod(temporary, 0o600 if gid is None else 0o660, dir_fd=folder)
            listening.listen(_BACKLOG)
            check(folder)
            os.rename(temporary, self.path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            listening.close()
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        self._bound = bound
        return listening

    def _address(self, folder: int, name: str) -> str:
        """A path for bind and connect: by the folder's descriptor where the plain one is longer than they take."""
        plain = str(self.path.with_name(name))
        return plain if len(os.fsencode(plain)) <= SOCKET_PATH_LIMIT else f"/proc/self/fd/{folder}/{name}"

    def _check_replaceable(
        self, folder: int, is_a_fake: Callable[[socket.socket, int], bool] = lambda _client, _result: False
    ) -> None:
        """Raise StartError unless the socket's path is free, or a socket that nobody listens on, or a fake one."""
        try:
            there = os.stat(self.path.name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(there.st_mode):
            raise StartError(
                operator_line(f"cannot serve {self.path}: it is not a socket; move it away, or choose another")
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as client:
            result = client.connect_ex(self._address(folder, self.path.name))
            if result != errno.ECONNREFUSED and not is_a_fake(client, result):
                raise StartError(operator_line(f"cannot serve {self.path}: another program serves it; end it first"))

    def close(self) -> None:
        """Unlink the socket if it is still ours, and release the lock. A second call does nothing."""
        with self._one_at_a_time:
            if self.socket is not None:
                self.socket.close()
                self.socket = None
            if self._bound is not None and self._folder is not None:
                with contextlib.suppress(FileNotFoundError):
                    there = os.stat(self.path.name, dir_fd=self._folder, follow_symlinks=False)
                    if os.path.samestat(there, self._bound):
                        os.unlink(self.path.name, dir_fd=self._folder)
            self._bound = None
            for descriptor in (self._lock, self._folder):
                if descriptor is not None:
                    os.close(descriptor)
            self._lock = self._folder = None


class PassedSocket:
    """The place of a socket that systemd made, and that only systemd binds again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bound: os.stat_result | None = path.lstat()
        except OSError:
            self._bound = None  # not visible from here (RootDirectory= of systemd.exec(5)): nobody can tell

    def lost(self) -> str | None:
        """Why clients do not reach it by its path, as a clause; ``None`` where they do, or nobody can tell."""
        return None if self._bound is None else _not_at(self.path, self._bound)

    def bind_again(self) -> socket.socket:
        """Raise StartError, which says who can."""
        raise StartError(
            operator_line(f"cannot serve {self.path}: systemd made it; run `systemctl restart acpbot.socket`")
        )


def _not_at(path: Path, bound: os.stat_result) -> str | None:
    """Why another socket than the bound one is at the path. A socket that is open keeps its inode number to itself."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return "it was removed"
    except OSError as error:
        return f"it can't be looked at: {error.strerror}"
    return None if os.path.samestat(there, bound) else "something else is in its place"


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(
            f"cannot use [management] socket_group: there is no group {group!r}; create it, or name another"
        ) from None


def _hand_over(folder: int, name: str, gid: int) -> None:
    try:
        os.chown(name, -1, gid, dir_fd=folder, follow_symlinks=False)
    except PermissionError:
        raise foreign_group(gid) from None


def inherited(environ: MutableMapping[str, str]) -> socket.socket | None:
    """The listening Unix socket that systemd passes (``LISTEN_FDS``), if it does. Raises StartError.

    The variables are removed from ``environ``: children must not take them for theirs. systemd makes the socket, sets
    its mode and removes it.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        return None
    if int(count) > 1:
        raise StartError(f"cannot start: systemd handed over {count} sockets; leave one ListenStream= in acpbot.socket")
    try:
        os.set_inheritable(_FIRST_LISTEN_FD, False)
        listening = socket.socket(fileno=_FIRST_LISTEN_FD)
    except OSError as error:
        raise StartError(f"cannot start: the socket from systemd can't be used: {error.strerror}") from None
    if not _fits(listening):
        listening.close()
        raise StartError(
            "cannot start: what systemd handed over is not a listening Unix stream socket with a path; "
            "set ListenStream=/run/acpbot/acpbot.sock in acpbot.socket"
        )
    listening.setblocking(False)
    return listening


def _fits(handed: socket.socket) -> bool:
    """A socket without a path has no file mode either: everybody could connect."""
    if handed.family != socket.AF_UNIX or handed.type != socket.SOCK_STREAM:
        return False
    name = handed.getsockname()
    in_file_system = isinstance(name, str) and name.startswith("/")
    return in_file_system and bool(handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
