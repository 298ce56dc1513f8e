"""Whether a message that has waited may still run: what is known of its author, and where Discord can't be asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from acpbot.aio import Backoff
from acpbot.chat.discord.access import CurrentSettings
from acpbot.chat.discord.inbound.recheck import NO_ACCESS, UNKNOWN_ACCESS, AccessRecheck, _author
from acpbot.chat.discord.outbound.rest import RequestRefused
from acpbot.chat.platform import IncomingMessage
from acpbot.config.settings import ChannelSettings, DiscordSettings, PoolSettings, Settings, StoreSettings

if TYPE_CHECKING:
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


THREAD: dict[str, Any] = {"id": "1417221234567890123", "type": 11, "parent_id": "1417221234567890100", "guild_id": "1"}


class Api:
    """A REST API that knows one thread."""

    rest: Any
    retries = None

    def __init__(self) -> None:
        self.rest = self

    async def call(self, *_words: str, **_more: Any) -> dict[str, Any]:
        return THREAD


@pytest.mark.parametrize(
    ("by_program", "bots", "refusal"), [(True, "off", NO_ACCESS), (True, "all", None), (False, "off", None)]
)
async def test_a_programs_message_stays_one_where_discord_does_not_describe_it_any_more(by_program, bots, refusal):
    settings = Settings(
        default_agent="demo",
        discord=DiscordSettings(
            bot_token="t",
            allow_all_users=True,
            allow_all_channels=True,
            allow_bot_messages=bots,
        ),
        agents={},
        pool=PoolSettings(workspace=Path("unused")),
        store=StoreSettings(path=Path("unused")),
    )
    recheck = AccessRecheck(CurrentSettings(settings), cast("Any", Api()))
    incoming = IncomingMessage(thread_id=THREAD["id"], text="say a", owner="7", key="8", by_program=by_program)
    assert await recheck.refusal(incoming, None, None) == refusal


def test_a_message_of_the_bots_own_that_stands_for_a_press_is_a_persons():
    incoming = IncomingMessage(thread_id="2", text="continue", owner="7")
    assert not _author({"author": {"id": "1", "bot": True}}, incoming).is_program
    assert _author({"author": {"id": "7", "bot": True}}, incoming).is_program
