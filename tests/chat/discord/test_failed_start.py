"""A daemon whose start fails while its chat already connects to Discord."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.config.settings import AgentSettings, DiscordSettings, PoolSettings, Settings, StoreSettings
from acpbot.daemon.daemon import Daemon
from tests.fakes.discord.server import DiscordServer
from tests.support.discord_scene import default_addresses

if TYPE_CHECKING:
    from pathlib import Path


class UnreadableWatchdog(dict[str, str]):
    """An environment in which a start fails at its last step: systemd's watchdog is looked up after Discord."""

    def get(self, key: str, default: Any = None) -> Any:
        if key.startswith("WATCHDOG"):
            raise OSError("cannot read the environment")
        return super().get(key, default)


async def test_a_start_that_fails_after_discord_has_started_ends_at_once(tmp_path: Path) -> None:
    async with DiscordServer(unit=0.01) as server:
        settings = Settings(
            default_agent="demo",
            discord=DiscordSettings(
                bot_token=server.token,
                allow_all_users=True,
                api_base=server.api_base,
                gateway_url=server.gateway_url,
            ),
            agents={"demo": AgentSettings(name="demo", command="demo")},
            pool=PoolSettings(workspace=tmp_path),
            store=StoreSettings(path=tmp_path / "acpbot.sqlite3"),
        )
        daemon = Daemon(settings, None, UnreadableWatchdog(), reload=lambda: settings)
        with default_addresses(), pytest.raises(OSError, match="cannot read the environment"):
            await asyncio.wait_for(daemon.run(), 10)
