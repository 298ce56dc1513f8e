"""``[[schedule]]``: prompts that acpbot sends by itself, at the times of a cron expression."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError
from msgspec import Meta, Struct

from acpbot.config import field_types as ft
from acpbot.config.values import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acpbot.config.field_types import KeyLocation

_CRON_FIELDS: Final = 5
_DISCORD_ID: Final = r"\A[1-9][0-9]{0,19}\Z"
_THREAD_ID: Final = r"\A(?:[0-9]{1,20}|[a-z0-9-]{1,64})\Z"


def cron(value: object, location: KeyLocation) -> str:
    """A cron expression of five fields, as crontab(5) has them; seconds are not taken."""
    written = ft.text(value, location)
    try:
        next(CronSim(written, datetime(2024, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        reason = str(error) or "it never occurs"
        raise ft.InvalidValue(f"{show(written)} ({reason})") from None
    if len(written.split()) != _CRON_FIELDS:
        raise ft.InvalidValue(show(written), 'write for example cron = "0 9 * * 1-5"')
    return written


def timezone(value: object, location: KeyLocation) -> str:
    """The name of a time zone of the IANA database."""
    written = ft.text(value, location)
    try:
        ZoneInfo(written)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a path, a folder of the database, no name at all
        raise ft.InvalidValue(show(written)) from None
    return written


class ScheduleSettings(Struct, frozen=True, kw_only=True):
    """An entry of ``[[schedule]]``. One of ``channel`` and ``thread`` is set.

    ``cron`` (crontab(5)) is in ``timezone``, a name of the IANA database. ``channel``: each run begins a thread there.
    ``thread``: each run is the next prompt there. ``agent``: of a thread that begins; ``None``: the channel's.
    """

    cron: Annotated[str, cron, Meta(description="a cron expression of five fields", examples=["0 9 * * 1-5"])]
    timezone: Annotated[str, timezone, Meta(description="the name of a time zone", examples=["Europe/Berlin"])] = "UTC"
    channel: (
        Annotated[
            str,
            ft.discord_id,
            Meta(pattern=_DISCORD_ID, description="a Discord id, digits in quotes", examples=["123456789012345678"]),
        ]
        | None
    ) = None
    thread: (
        Annotated[
            str,
            ft.discord_id,
            Meta(pattern=_THREAD_ID, description="the id of a thread", examples=["123456789012345678"]),
        ]
        | None
    ) = None
    agent: Annotated[str, ft.text, Meta(description="the name of an agent", examples=["claude"])] | None = None
    text: Annotated[
        str,
        ft.masked_text,
        Meta(pattern=r"(?s)\A.*\S", max_length=4000, description="a prompt", examples=["Look at the open issues."]),
    ]

    @property
    def key(self) -> str:
        """Names the entry over restarts, wherever it stands in the file; another text is another entry."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    def times_after(self, moment: float) -> Iterator[float]:
        """Yield the times of its runs after a moment, both Unix time in seconds.

        In the hour that a change of the clocks leaves out or repeats, as Debian's cron does it: see cron(8).
        """
        zone = ZoneInfo(self.timezone)
        for time in CronSim(self.cron, datetime.fromtimestamp(moment, zone)):
            yield time.timestamp()
