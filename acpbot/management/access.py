"""Who may do what: peer credentials, and the rule that reads them. Source: SO_PEERCRED in unix(7)."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
import struct
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.management.protocol import Access

_UCRED = struct.Struct("3i")


class Peer(msgspec.Struct, frozen=True):
    """The process at the other end, as the kernel says it was when it connected."""

    pid: int
    uid: int
    gid: int

    @property
    def name(self) -> str:
        """The user's name, or the uid where it has none."""
        with contextlib.suppress(KeyError):
            return pwd.getpwuid(self.uid).pw_name
        return str(self.uid)


def peer_of(connection: socket.socket) -> Peer | None:
    """The peer's credentials; ``None`` where the kernel gives none."""
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return None
    pid, uid, gid = _UCRED.unpack(credentials)
    return Peer(pid, uid, gid) if uid >= 0 else None


class AccessRule:
    """uid 0, the daemon's own uid and ``admins`` (names, uids, ``@group``) are admin; all others may read."""

    def __init__(self, admins: Sequence[str]) -> None:
        self._admins = tuple(admins)

    def access(self, peer: Peer | None) -> Access | None:
        """What the peer may do; ``None``: nothing. Names are looked up anew, since they change."""
        if peer is None:
            return None
        if peer.uid in {0, os.geteuid()} or any(self._is(peer, admin) for admin in self._admins):
            return "admin"
        return "read"

    @staticmethod
    def _is(peer: Peer, admin: str) -> bool:
        if admin.isdecimal():
            return peer.uid == int(admin)
        try:
            if not admin.startswith("@"):
                return peer.uid == pwd.getpwnam(admin).pw_uid
            group = grp.getgrnam(admin[1:])
        except KeyError:
            return False
        return group.gr_gid == peer.gid or peer.name in group.gr_mem
