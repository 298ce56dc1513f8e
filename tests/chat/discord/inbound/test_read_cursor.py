"""How far messages are read: none is handled twice, and none is skipped, in whatever order they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from acpbot.chat.discord.discord_time import DiscordClock, snowflake
from acpbot.chat.discord.inbound.intake import RESTARTING
from acpbot.chat.discord.inbound.read_cursor import BEHIND_SECONDS, ReadCursor
from acpbot.storage.store import Store
from tests.fakes.discord import rest
from tests.support.discord_scene import staged
from tests.support.pool import Clock
from tests.support.pool_restarts import rows

if TYPE_CHECKING:
    from pathlib import Path

HOME = 1


class Restarts:
    """Makes one cursor after the other on the same database, as a daemon that is started again does."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self._stores: list[Store] = []

    async def __call__(self) -> ReadCursor:
        await self.close()
        self._stores.append(Store.open(self.path))
        return ReadCursor(self._stores[0], DiscordClock(self.clock))

    async def close(self) -> None:
        while self._stores:
            await asyncio.to_thread(self._stores.pop().close)


@pytest.fixture
async def restart(tmp_path):
    path = tmp_path / "acpbot.sqlite3"
    clock = Clock()
    clock.now = 1_800_000_000.0
    restarts = Restarts(path, clock)
    yield restarts
    await restarts.close()


def at(clock: Clock, seconds: float) -> int:
    """A message of so many seconds from now."""
    return snowflake(clock.now + seconds) + 7


async def test_messages_from_before_the_first_start_are_not_read(restart):
    cursor = await restart()
    assert cursor.fall_behind([HOME]) == snowflake(restart.clock.now)


async def test_that_messages_are_read_from_the_first_start_on_is_on_disk_before_any_can_come(restart):
    cursor = await restart()
    await cursor.begin_reading()
    (stored,) = rows(restart.path, "marks")
    assert stored["message_id"] == cursor.position == snowflake(restart.clock.now)


async def test_what_comes_before_the_next_start_is_read_then(restart):
    cursor = await restart()
    await cursor.begin_reading()
    began = restart.clock.now
    restart.clock.now += 60.0
    cursor = await restart()
    await cursor.begin_reading()
    assert cursor.fall_behind([HOME]) == snowflake(began)


async def test_a_message_is_handled_once_also_after_a_restart(restart):
    cursor = await restart()
    cursor.fall_behind([])
    message = at(restart.clock, 1)
    assert cursor.begin(message)
    assert not cursor.begin(message), "it is being taken"
    cursor.end(message, taken=True)
    assert not cursor.begin(message)
    cursor = await restart()
    assert cursor.fall_behind([HOME]) < message
    assert not cursor.begin(message)


async def test_unfinished_and_deferred_messages_are_found_after_a_restart(restart):
    cursor = await restart()
    cursor.fall_behind([])
    taken, held, later = (at(restart.clock, seconds) for seconds in (20, 30, 90))
    assert cursor.begin(taken)
    assert cursor.begin(held)
    cursor.defer(held)
    assert cursor.begin(later)
    cursor.end(later, taken=True)
    cursor = await restart()
    assert cursor.fall_behind([HOME]) < taken
    assert cursor.begin(taken)
    assert cursor.begin(held)
    assert not cursor.begin(later)


async def test_new_messages_do_not_move_the_position_past_missed_ones(restart):
    """Found by the crash campaign: the position went past messages that were still to be handled."""
    cursor = await restart()
    cursor.fall_behind([])
    missed, now = at(restart.clock, 20), at(restart.clock, 300)
    cursor = await restart()
    cursor.fall_behind([HOME, 2])
    assert cursor.begin(now)
    cursor.end(now, taken=True)
    cursor.caught_up(2)
    assert cursor.begin(missed)
    cursor.end(missed, taken=True)
    cursor.fall_behind([3])
    cursor.caught_up(HOME)
    assert not cursor.begin(missed), "another server is still looked through"
    cursor.caught_up(3)
    cursor = await restart()
    assert missed < cursor.fall_behind([HOME]) < now
    assert not cursor.begin(now)


@pytest.mark.parametrize("how", ["deleted", "not for us any more", "too old", "away for good"])
async def test_a_message_that_cannot_be_handled_any_more_does_not_stop_the_position(restart, how):
    cursor = await restart()
    cursor.fall_behind([])
    held, hours = at(restart.clock, 1), 1
    assert cursor.begin(held)
    cursor.defer(held)
    match how:
        case "deleted":
            cursor.gone(held)
        case "not for us any more":
            cursor.end(held, taken=False)
        case "too old":
            hours = 25
        case "away for good":
            cursor.fall_behind([HOME])
            hours = 25
    for seconds in range(0, hours * 3600, 600):
        message = at(restart.clock, seconds)
        assert cursor.begin(message)
        cursor.end(message, taken=True)
    assert len(cursor._handled) <= (86_400 / 600 if hours > 24 else 1) + 1


async def test_only_ids_after_the_position_are_stored(restart):
    cursor = await restart()
    cursor.fall_behind([])
    for seconds in range(0, 1000, 10):
        message = at(restart.clock, seconds)
        assert cursor.begin(message)
        cursor.end(message, taken=True)
    assert len(cursor._handled) <= BEHIND_SECONDS
    await restart()
    assert len(rows(restart.path, "seen")) <= BEHIND_SECONDS


async def test_messages_older_than_a_day_are_not_answered(restart):
    cursor = await restart()
    cursor.fall_behind([])
    restart.clock.move(3 * 86_400)
    cursor = await restart()
    assert cursor.fall_behind([HOME]) == snowflake(restart.clock.now - 86_400)


async def test_a_deferred_message_is_found_after_any_number_of_failures(scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    scene.pool.draining = True
    held = scene.ada.says(thread, "say two")
    await scene.server.wait_for(lambda: held.shown_reactions == ["👀"])
    scene.pool.draining = False
    down = scene.server.faults.status(503, "GET", rest.MESSAGES, times=20)
    scene.chat.go_on()
    await scene.says(thread, "two")
    assert down.hits == 20
    assert scene.text(thread) == f"one\n{RESTARTING}\ntwo"


async def test_a_deferred_message_is_found_behind_500_others(scene):
    scene.pool.draining = True
    for number in range(510):
        scene.eve.says(scene.channel, f"not for the bot: {number}")
    held = scene.asks("say two")
    await scene.server.wait_for(lambda: held.shown_reactions == ["👀"])
    scene.pool.draining = False
    scene.chat.go_on()
    thread = await scene.server.wait_for(lambda: held.thread)
    await scene.says(thread, "two")


async def test_the_position_does_not_pass_a_message_whose_thread_is_being_fetched(tmp_path):
    """Of a thread that is not in the library's cache Discord is asked what it is: until then the message waits."""
    store = Store.open(tmp_path / "acpbot.sqlite3")
    async with staged(tmp_path, limits={"store": store}) as scene:
        thread = await scene.opens("say one")
        await scene.idle(thread, 1)
        client = scene.chat.outbox.rest.client
        assert client is not None
        guild = client.get_guild(scene.guild.id)
        assert guild is not None
        guild._threads.clear()
        asked = scene.server.faults.hold("GET", rest.CHANNEL)
        message = scene.ada.says(thread, "say two")
        await asyncio.wait_for(asked.arrived.wait(), 10)
        scene.chat.cursor.saw(message.id + (60_000 << 22))
        await store.durable()
        assert rows(tmp_path / "acpbot.sqlite3", "marks")[0]["message_id"] < message.id
        asked.release()
        await scene.says(thread, "two")
    await asyncio.to_thread(store.close)
