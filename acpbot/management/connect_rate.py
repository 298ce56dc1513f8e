"""How often each process and each user may connect: a flood of connects costs little, and delays nobody else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.access import PeerCredentials

_KNOWN_MOST: Final = 1024


class Rate(msgspec.Struct, frozen=True):
    """``burst`` connects at once, and ``per_second`` more in each second."""

    burst: float
    per_second: float


OF_PROCESS: Final = Rate(200, 100)
OF_USER: Final = Rate(400, 300)


class _Bucket(msgspec.Struct):
    tokens: float
    at: float


class ConnectRate:
    """A token bucket for each process and each user that has connected lately.

    Users who may only read are limited together with all their processes. Of admins each process is limited for itself:
    agents' tools have the daemon's uid, and must not use up what the operator's shell needs.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[int, int | None], _Bucket] = {}

    def allows(self, peer: PeerCredentials, *, is_admin: bool) -> bool:
        """Count a connect; returns whether the peer may have it now."""
        # The user's bucket is left alone where the process has used up its own.
        return self._take((peer.uid, peer.pid), OF_PROCESS) and (is_admin or self._take((peer.uid, None), OF_USER))

    def _take(self, key: tuple[int, int | None], rate: Rate) -> bool:
        now = self._clock()
        bucket = self._buckets.pop(key, None) or _Bucket(rate.burst, now)
        bucket.tokens = min(rate.burst, bucket.tokens + (now - bucket.at) * rate.per_second)
        bucket.at = now
        allowed = bucket.tokens >= 1
        if allowed:
            bucket.tokens -= 1
        self._buckets[key] = bucket  # at the end: the one that has connected last
        if len(self._buckets) > _KNOWN_MOST:
            del self._buckets[next(iter(self._buckets))]
        return allowed
