"""Prompts at fixed times, as people in Discord see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from acpbot.chat.operator import OperatorActions
from acpbot.config.schedules import ScheduleSettings
from acpbot.daemon.schedule import Scheduler
from acpbot.storage.store import Store
from tests.support.discord_scene import staged

if TYPE_CHECKING:
    from pathlib import Path

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC).timestamp()
HOUR = 3600.0


async def test_a_thread_begins_in_a_channel_of_discord_and_shows_that_nobody_has_typed_it(tmp_path: Path):
    async with staged(tmp_path) as scene:
        actions = OperatorActions(scene.pool)
        actions.add_channels(scene.chat.operator)
        now = NINE
        task = ScheduleSettings(cron="0 * * * *", channel=str(scene.channel.id), text="say all is well")
        scheduler = Scheduler([task], operator=actions, store=Store(), events=scene.pool.events, wall=lambda: now)
        now = NINE + HOUR
        await scheduler.tick()
        thread = await scene.server.wait_for_thread(scene.channel)
        assert "all is well" in await scene.says(thread, "all is well")
        posted = [one.content for one in scene.server.messages_in(scene.channel, by=scene.server.bot)]
        assert posted[0] == "A scheduled task: say all is well"
        now = NINE + HOUR + 1
        scheduler.replace([])
        actions.notice_in_channel(str(scene.channel.id), "The scheduled task did not run.")
        await scene.server.wait_for_message(scene.channel, lambda one: "did not run" in one.content)
        await scheduler.close()
