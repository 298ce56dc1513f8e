"""Discord's time, which its ids contain: this machine's clock may be wrong, for example without a battery.

Source: https://discord.com/developers/docs/reference#snowflakes; ``Date`` in RFC 9110, section 6.6.1.
"""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from acpbot.logs import get_logger
from acpbot.times import seconds_since_boot

if TYPE_CHECKING:
    from collections.abc import Callable

log = get_logger(__name__)

SKEW_SECONDS: Final = 10.0
"""A smaller difference may come from the way of an answer: then this machine's clock counts, which is more precise."""

_EPOCH_MS: Final = 1_420_070_400_000
_ID_MAX: Final = 2**63 - 1  # the largest INTEGER of SQLite


def snowflake(seconds: float) -> int:
    """The smallest id of that time (Unix time), within 0 and 2**63 - 1: the years 2015 to 2084."""
    return min(max(0, int(seconds * 1000 - _EPOCH_MS)) << 22, _ID_MAX)


def time_of(snowflake_id: int) -> float:
    """When an id was made (Unix time)."""
    return ((snowflake_id >> 22) + _EPOCH_MS) / 1000


class DiscordClock:
    """Gives Unix time: this machine's while it agrees with Discord's or Discord's is unknown, else Discord's.

    ``wall``: Unix time by this machine. ``boottime``: seconds since the machine started, its sleep included.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, boottime: Callable[[], float] = seconds_since_boot
    ) -> None:
        self._wall = wall
        self._boottime = boottime
        self._started_at: float | None = None
        self._differs = False

    def __call__(self) -> float:
        """Unix time now."""
        wall, discord = self._wall(), self._discord_time()
        return wall if discord is None or abs(wall - discord) < SKEW_SECONDS else discord

    def of(self, at: float) -> float:
        """A point in time of this machine (Unix time), by the clock that counts now."""
        return at + self() - self._wall()

    @property
    def is_known(self) -> bool:
        """Whether Discord's time is known."""
        return self._started_at is not None

    def read(self, date: str) -> None:
        """Take Discord's time from the ``Date`` header of an answer that has just come, where it is one."""
        try:
            answered_at = parsedate_to_datetime(date)
        except ValueError as error:
            log.debug("discord_date_unreadable", error=str(error))
            return
        # The header has whole seconds: the middle of the second is at most half a second off.
        discord = answered_at.replace(tzinfo=UTC).timestamp() + 0.5
        self._started_at = discord - self._boottime()
        ahead = self._wall() - discord
        differs = abs(ahead) >= SKEW_SECONDS
        if differs and not self._differs:
            log.warning("clock_differs_from_discord", ahead_seconds=round(ahead), advice="set this machine's clock")
        self._differs = differs

    def _discord_time(self) -> float | None:
        return None if self._started_at is None else self._started_at + self._boottime()
