"""Peer credentials, and the access that they give. Source: SO_PEERCRED in unix(7)."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from itertools import filterfalse
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.management.protocol import Access

_UCRED: Final = struct.Struct("iII")
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
