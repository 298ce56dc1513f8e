"""Who gets one of the connections: a share for each user, and seats kept for admins, so that nobody crowds others out.

The rules are in docs/protocol.md, 'Limits'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from acpbot.errors import TooMany

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acpbot.management.protocol import Access, Limits


class Holder(Protocol):
    """What seats need of a connection: since when nothing has been under way; ``None`` where something is."""

    @property
    def idle_since(self) -> float | None:
        """A time of the event loop's clock."""


H = TypeVar("H", bound=Holder)


class _Seat(msgspec.Struct):
    uid: int
    access: Access | None  # None: it is being looked up


class Seats(Generic[H]):
    """The seats that are taken.

    A client whose access is not known yet may take any free seat, and makes room for every other client: so neither
    does a slow lookup keep an admin out, nor a crowd of such clients.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: dict[H, _Seat] = {}

    def admit(self, holder: H, uid: int, access: Access | None, *, short: bool = False) -> H | None:
        """Take a seat; return the idle client that has to make room for it, whose seat is free now.

        ``short``: there are no descriptors left, so only an admin gets in. Raises TooMany, which names the limit.
        """
        if access != "admin" and short:
            raise TooMany("cannot serve another connection: acpbot has no open files left; raise its LimitNOFILE=")
        leaves = self._make_room(uid, access, short=short)
        self._taken[holder] = _Seat(uid, access)
        return leaves

    def settle(self, holder: H, access: Access) -> H | None:
        """Note the access of a client that was being looked up; return who has to make room. Raises TooMany.

        Nothing happens where the client has left its seat meanwhile.
        """
        seat = self._taken.get(holder)
        if seat is None:
            return None
        seat.access = access
        if access == "read" and len(self._readers()) > self._for_readers:
            return self._free_oldest_idle(
                (other for other in self._readers() if other is not holder),
                f"all {self._for_readers} places of clients that may only read are in use",
            )
        return None

    def leave(self, holder: H) -> None:
        """Free the client's seat, if it has one."""
        self._taken.pop(holder, None)

    @property
    def _for_readers(self) -> int:
        return self._limits.connections - self._limits.admin_connections

    def _make_room(self, uid: int, access: Access | None, *, short: bool) -> H | None:
        limits = self._limits
        others = [holder for holder, seat in self._taken.items() if seat.access != "admin"]
        if access != "admin":
            own = [holder for holder in others if self._taken[holder].uid == uid]
            if len(own) >= limits.uid_connections:
                return self._free_oldest_idle(own, f"uid {uid} has {len(own)} open, which is its share")
            readers = self._readers()
            if access == "read" and len(readers) >= self._for_readers:
                reason = f"all {self._for_readers} places of clients that may only read are in use"
                return self._free_oldest_idle(readers, reason)
        if len(self._taken) >= limits.connections:
            return self._free_oldest_idle(others, f"{len(self._taken)} are open")
        if short:
            return self._oldest_idle(others)
        return None

    def _readers(self) -> list[H]:
        return [holder for holder, seat in self._taken.items() if seat.access == "read"]

    def _free_oldest_idle(self, holders: Iterable[H], reason: str) -> H:
        oldest = self._oldest_idle(holders)
        if oldest is None:
            raise TooMany(f"cannot serve another connection: {reason}; close one, or wait")
        return oldest

    def _oldest_idle(self, holders: Iterable[H]) -> H | None:
        """Take the seat of the one that has been idle for the longest time."""
        idle = [(since, holder) for holder in holders if (since := holder.idle_since) is not None]
        if not idle:
            return None
        oldest = min(idle, key=lambda item: item[0])[1]
        self.leave(oldest)
        return oldest
