"""Whether a message that has waited over a restart may still run: what is known of its author then."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from acpbot.chat.discord.access import CurrentSettings
from acpbot.chat.discord.inbound.recheck import NO_ACCESS, AccessRecheck
from acpbot.chat.platform import IncomingMessage
from acpbot.config.settings import DiscordSettings, PoolSettings, Settings, StoreSettings

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
