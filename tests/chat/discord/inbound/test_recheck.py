"""Which rules of access a message meets that has waited, where Discord can't be asked about its author any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from acpbot.aio import Backoff
from acpbot.chat.discord.access import CurrentSettings
from acpbot.chat.discord.inbound.recheck import UNKNOWN_ACCESS, AccessRecheck
from acpbot.chat.discord.outbound.rest import RequestRefused
from acpbot.chat.platform import IncomingMessage
from acpbot.config.settings import ChannelSettings, DiscordSettings, PoolSettings, Settings, StoreSettings

if TYPE_CHECKING:
    from pathlib import Path

    from acpbot.chat.discord.outbound.outbox import Outbox


class Silent:
    """An outbox whose REST API refuses every request."""

    retries = Backoff(first=0.001, most=0.001)

    @property
    def rest(self) -> Silent:
        return self

    async def call(self, *_args: Any, **_params: Any) -> Any:
        raise RequestRefused(404, 10003, "Unknown Channel")


async def test_the_people_of_the_channel_count_where_discord_can_not_be_asked(tmp_path: Path):
    discord = DiscordSettings(
        bot_token="t",
        allowed_users=("7",),
        allow_all_channels=True,
        channels={"5": ChannelSettings(allowed_users=("8",))},
    )
    settings = Settings(
        default_agent="demo",
        agents={},
        discord=discord,
        pool=PoolSettings(workspace=tmp_path),
        store=StoreSettings(path=tmp_path / "a.sqlite3"),
    )
    recheck = AccessRecheck(CurrentSettings(settings), cast("Outbox", Silent()))

    async def refusal(person: str, channel: str) -> str | None:
        return await recheck.refusal(
            IncomingMessage(thread_id="50", text="x", owner=person, channel=channel), None, None
        )

    assert await refusal("8", "5") is None
    assert await refusal("7", "5") == UNKNOWN_ACCESS
    assert await refusal("7", "6") is None
