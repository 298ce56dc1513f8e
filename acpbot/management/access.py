"""The process at the other end of a connection, and the access that its credentials give.

Source: SO_PEERCRED in unix(7), SO_PEERPIDFD (Linux 6.5), pidfd_open(2).
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import select
import socket
import struct
from itertools import filterfalse
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.management.protocol import Access

_UCRED: Final = struct.Struct("iII")
_SO_PEERPIDFD: Final = 77  # asm-generic/socket.h; Python has no name for it
_NOBODY_KNOWN: Final = 0xFFFFFFFF  # (uid_t) -1: the socket has no credentials


class PeerCredentials(msgspec.Struct, frozen=True):
    """The process at the other end, as the kernel says it was when it connected."""

    pid: int
    uid: int
    gid: int


def user_name(uid: int) -> str:
    """The user's name, or the uid where it has none. The lookup may block."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def peer_of(connection: socket.socket) -> PeerCredentials | None:
    """The peer's credentials; ``None`` where the kernel gives none."""
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return None
    pid, uid, gid = _UCRED.unpack(credentials)
    return None if uid == _NOBODY_KNOWN else PeerCredentials(pid, uid, gid)


def may_be_an_agents(peer: PeerCredentials) -> bool:
    """Whether a process of an agent can have these credentials: agents run as the daemon's user; root takes any uid.

    pid 0 stands for a process outside our pid namespace. No process gets out of its own (pid_namespaces(7)), so an
    agent's can't be there. Where it has our uid it is suspected all the same: containers share uids.
    """
    us = os.geteuid()
    return peer.uid == us or (us == 0 and peer.pid != 0)


class PeerProcess:
    """A hold on the process that connected: its pid can't come to mean another one unnoticed. ``close`` releases it.

    Create it as soon as the connection is accepted. Before Linux 6.5 the kernel gives no pidfd of the peer itself: then
    a process that has got the peer's pid between connecting and accepting is taken for it.
    """

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self._pidfd = _open_pidfd(connection, pid)

    @property
    def alive(self) -> bool:
        """Whether it certainly runs; ``False`` also where there is no hold on it."""
        if self._pidfd is None:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Release it. A second call does nothing."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def _open_pidfd(connection: socket.socket, pid: int) -> int | None:
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT or pid <= 0:
            return None  # it has ended and was reaped, or there is no free descriptor
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


class AccessRule:
    """uid 0, the daemon's own uid and ``admins`` (names, uids, ``@group``) are admin; all others may read.

    The socket's file mode decides before that who can connect.
    """

    def __init__(self, admins: Sequence[str] = ()) -> None:
        self._admins = tuple(admins)

    def at_once(self, peer: PeerCredentials) -> Access | None:
        """The peer's access where that needs no lookup of users; else ``None``."""
        if peer.uid in {0, os.geteuid()} or str(peer.uid) in self._admins:
            return "admin"
        return None if self._admins else "read"

    def looked_up(self, peer: PeerCredentials) -> Access:
        """The peer's access. Names are looked up each time, since they change; that may block."""
        known = self.at_once(peer)
        if known is not None:
            return known
        return "admin" if any(self._names(peer, admin) for admin in self._admins) else "read"

    def unknown(self) -> list[str]:
        """The admins that this system does not know. The lookup may block."""
        return list(filterfalse(_exists, self._admins))

    @staticmethod
    def _names(peer: PeerCredentials, admin: str) -> bool:
        try:
            if not admin.startswith("@"):
                return peer.uid == pwd.getpwnam(admin).pw_uid
            group = grp.getgrnam(admin[1:])
            user = pwd.getpwuid(peer.uid)
        except KeyError:
            return False
        # The groups of the user, not those of the process: a setgid program lends its group to anybody.
        return user.pw_gid == group.gr_gid or user.pw_name in group.gr_mem


def _exists(admin: str) -> bool:
    try:
        if admin.startswith("@"):
            grp.getgrnam(admin[1:])
        elif not admin.isdecimal():
            pwd.getpwnam(admin)
    except KeyError:
        return False
    return True
