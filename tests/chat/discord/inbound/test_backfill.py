"""Messages that people write while there is no gateway session, and the old one is not resumed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.chat.discord import compat
from acpbot.chat.discord.inbound.backfill import Places
from acpbot.chat.discord.inbound.history_progress import HistoryProgress
from acpbot.chat.discord.inbound.intake import RESTARTING
from tests.fakes.discord import payloads, rest, state
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    import discord

    from tests.fakes.discord.rest import Call
    from tests.fakes.discord.state import Channel, Message


@asynccontextmanager
async def away(scene: Scene):
    """The bot is away within this block, and its session forgotten after it."""
    gateway = scene.server.gateway
    gateway.refuse()
    gateway.cut()
    await scene.server.wait_for(lambda: not scene.chat.facts().connected, what="the loss of the gateway")
    identified = gateway.identifies
    yield
    gateway.expire()
    gateway.accept()
    await scene.server.wait_for(lambda: gateway.identifies > identified, seconds=10, what="a new session")


def said(scene: Scene, thread: Channel) -> list[str]:
    return [one.content for one in scene.bodies(thread)]


async def thread_of(scene: Scene, mention: Message) -> Channel:
    """The thread that is opened from this message: it has its id."""
    threads = scene.server.threads_of
    return await scene.server.wait_for(lambda: next((t for t in threads(scene.channel) if t.id == mention.id), None))


async def test_missed_messages_are_answered_once_and_in_order(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    async with away(scene):
        scene.ada.says(thread, "say two")
        scene.eve.says(thread, "say nothing to eve")
        scene.ada.says(thread, "say three")
        mention = scene.asks("say four")
        scene.ada.says(scene.channel, "not for the bot")
    scene.ada.says(thread, "say five")
    await scene.says(thread, "five")
    other = await thread_of(scene, mention)
    await scene.says(other, "four")
    await scene.idle(thread, 4)
    assert said(scene, thread) == ["one", "two", "three", "five"]
    assert said(scene, other) == ["four"]
    async with away(scene):
        scene.ada.says(thread, "say six")
    await scene.idle(thread, 5)
    assert said(scene, thread) == ["one", "two", "three", "five", "six"]


async def test_a_history_is_read_again_after_lost_connections(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    async with away(scene):
        scene.ada.says(thread, "say two")
        # discord.py tries each five times by itself; connection errors it does not
        scene.server.faults.abort("GET", rest.MESSAGES, times=4)
    await scene.says(thread, "two")


async def test_a_history_is_read_again_after_a_429(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    async with away(scene):
        scene.ada.says(thread, "say two")
        # from a proxy in front of Discord: the library does not try again
        scene.server.faults.too_many("GET", rest.MESSAGES, retry_after=0.01, via=False, times=2)
    await scene.says(thread, "two")


async def test_the_next_client_reads_what_a_closed_one_has_not(scene: Scene, caplog):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    async with away(scene):
        scene.ada.says(thread, "say two")
        read = scene.server.faults.hold("GET", rest.MESSAGES)
    await read.arrived.wait()
    await scene.server.gateway.close(4012)
    await scene.server.wait_for(lambda: len(scene.server.requests_to("GET", rest.ME)) == 2, seconds=10)
    read.release()
    await scene.says(thread, "two")
    await scene.idle(thread, 2)
    assert said(scene, thread) == ["one", "two"]
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_channel_whose_history_is_forbidden_delays_no_other(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    scene.server.set_permissions(scene.channel, scene.guild.everyone, deny=["READ_MESSAGE_HISTORY"])
    async with away(scene):
        scene.asks("say missed")
    scene.ada.says(thread, "say two")
    await scene.says(thread, "two")


async def test_a_channel_whose_history_cannot_be_fetched_delays_no_other(scene: Scene):
    threads = []
    for text in ("say one", "say two"):
        mention = scene.asks(text)
        threads.append(await thread_of(scene, mention))
        await scene.idle(threads[-1], 1)
    broken, fine = threads

    def is_broken(call: Call) -> bool:
        return call.number("channel_id") == broken.id

    async with away(scene):
        scene.ada.says(broken, "say late")
        scene.ada.says(fine, "say missed")
        down = scene.server.faults.status(503, "GET", rest.MESSAGES, times=10**6, where=is_broken)
    scene.ada.says(fine, "say now")
    await scene.says(fine, "missed", "now")
    await scene.idle(fine, 3)
    assert said(scene, fine) == ["two", "missed", "now"]
    assert down.hits > 0
    assert said(scene, broken) == ["one"]
    scene.server.faults.clear()
    await scene.says(broken, "late")


async def test_roles_are_checked_for_missed_messages(tmp_path):
    def by_role(scene: Scene) -> dict:
        role = scene.server.make_role(scene.guild, "friends")
        scene.server.give_roles(scene.guild, scene.eve, [role])
        return {"allowed_users": (), "allowed_role_ids": (str(role.id),)}

    async with staged(tmp_path, setup=by_role) as scene:
        async with away(scene):
            denied = scene.asks("say no", who=scene.bob)
            scene.asks("say yes", who=scene.eve)
        thread = await scene.server.wait_for_thread(scene.channel)
        await scene.says(thread, "yes")
        await scene.server.wait_for(lambda: denied.shown_reactions == ["🚫"])


async def test_a_denied_message_does_not_run_once_its_author_is_allowed(tmp_path):
    def by_role(scene: Scene) -> dict:
        roles.append(scene.server.make_role(scene.guild, "friends"))
        return {"allowed_users": (), "allowed_role_ids": (str(roles[0].id),)}

    roles: list = []
    async with staged(tmp_path, setup=by_role) as scene:
        scene.server.world.snowflake.ahead = 5.0  # what is older than the bot's first start is not read at all
        denied = scene.asks("say no", who=scene.eve)
        await scene.server.wait_for(lambda: denied.shown_reactions == ["🚫"])
        scene.server.give_roles(scene.guild, scene.eve, roles)
        async with away(scene):
            allowed = scene.asks("say yes", who=scene.eve)
        await scene.server.wait_for(lambda: allowed.shown_reactions == ["🆗"])
        assert (denied.thread, denied.shown_reactions) == (None, ["🚫"])


async def test_missed_direct_messages_are_answered(tmp_path):
    async with staged(tmp_path, allow_dm=True) as scene:
        direct = scene.server.dm(scene.ada)
        scene.ada.says(direct, "say one")
        await scene.says(direct, "one")
        await scene.idle(direct, 1)
        async with away(scene):
            scene.ada.says(direct, "say two")
        await scene.says(direct, "two")
        await scene.idle(direct, 2)
        assert said(scene, direct) == ["one", "two"]


async def test_a_missed_message_in_a_thread_that_is_archived_since_is_answered(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    async with away(scene):
        scene.ada.says(thread, "say two")
        scene.ada.archives(thread)
    await scene.says(thread, "two", seconds=10)


async def test_after_a_cancelled_drain_deferred_messages_are_answered(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    scene.pool.draining = True
    waits = scene.ada.says(thread, "say two")
    mention = scene.asks("say three")
    await scene.server.wait_for(lambda: waits.shown_reactions == mention.shown_reactions == ["👀"])
    assert len(scene.server.threads_of(scene.channel)) == 1
    scene.pool.draining = False
    busy = scene.server.faults.hold("PUT", rest.REACTION)
    scene.chat.outbox.react(str(thread.id), str(waits.id), "👍", add=True)
    await busy.arrived.wait()
    scene.chat.go_on()
    await scene.says(thread, "two")
    busy.release()
    other = await thread_of(scene, mention)
    await scene.says(other, "three")
    await scene.idle(thread, 2)
    assert said(scene, thread) == ["one", RESTARTING, "two"]
    assert set(waits.shown_reactions) == {"👍", "🆗"}, "the reaction of before is taken off"


async def test_slow_histories_hold_up_no_channel_that_needs_none(scene: Scene):
    busy = [scene.server.make_channel(scene.guild, f"busy-{number}") for number in range(40)]
    quiet = scene.server.make_channel(scene.guild, "quiet")
    async with away(scene):
        for channel in busy:
            scene.eve.says(channel, "news")
        slow = scene.server.faults.hold("GET", rest.MESSAGES, times=10**6)
    reads = scene.server.requests_to
    await scene.server.wait_for(lambda: len(reads("GET", rest.MESSAGES)) == 32, what="as many reads as there may be")
    read = [call.number("channel_id") for call in reads("GET", rest.MESSAGES)]
    assert read == [channel.id for channel in reversed(busy[8:])], "first where people wrote last"
    mention = scene.ada.says(quiet, "say at once", mentions=[scene.server.bot])
    thread = await scene.server.wait_for(lambda: mention.thread)
    await scene.says(thread, "at once")
    slow.release()


async def test_a_message_waits_for_the_history_of_its_own_channel_alone(scene: Scene):
    mine = scene.server.make_channel(scene.guild, "mine")
    busy = [scene.server.make_channel(scene.guild, f"busy-{number}") for number in range(40)]
    async with away(scene):
        for channel in (mine, *busy):
            scene.eve.says(channel, "news")

        def is_slow(call: Call) -> bool:
            return call.number("channel_id") != mine.id

        slow = scene.server.faults.hold("GET", rest.MESSAGES, times=10**6, where=is_slow)
    reads = scene.server.requests_to
    await scene.server.wait_for(lambda: len(reads("GET", rest.MESSAGES)) == 32, what="as many reads as there may be")
    mention = scene.ada.says(mine, "say at once", mentions=[scene.server.bot])
    thread = await scene.server.wait_for(lambda: mention.thread)
    await scene.says(thread, "at once")
    slow.release()


@pytest.mark.parametrize("follows", ["while the bot is away", "when it is back"])
async def test_the_message_that_a_thread_was_opened_from_is_answered_before_what_follows_in_the_thread(
    scene: Scene, follows: str
):
    # The bot has opened the thread, and ended before it took the message.
    async with away(scene):
        mention = scene.asks("say one")
        thread = scene.server.make_thread(scene.channel, scene.server.bot, "one", from_message=mention)
        if follows == "while the bot is away":
            scene.ada.says(thread, "say two")

        def is_channel(call: Call) -> bool:
            return call.number("channel_id") == scene.channel.id

        slow = scene.server.faults.hold("GET", rest.MESSAGES, where=is_channel)
    await slow.arrived.wait()
    scene.ada.says(thread, "say three")
    seen = scene.ada.says(scene.server.make_channel(scene.guild, "other"), "say four", mentions=[scene.server.bot])
    await scene.says(await scene.server.wait_for(lambda: seen.thread), "four")
    assert said(scene, thread) == []
    slow.release()
    await scene.says(thread, "three")
    expected = ["one", "two", "three"] if follows == "while the bot is away" else ["one", "three"]
    assert [one for one in said(scene, thread) if "Queued" not in one] == expected


async def test_a_missed_message_waits_for_the_files_of_no_other_in_its_channel(scene: Scene):
    held = scene.server.faults.hold("GET", rest.CDN)
    async with away(scene):
        slow = scene.asks("say slow", attachments={"a.txt": "x"})
        quick = scene.asks("say quick", who=scene.bob)
    await asyncio.wait_for(held.arrived.wait(), 10)
    new = scene.asks("say new")
    for mention, word in ((quick, "quick"), (new, "new")):
        await scene.says(await thread_of(scene, mention), word, seconds=10)
    followed = scene.ada.says(await thread_of(scene, slow), "say after it")
    held.release()
    thread = await thread_of(scene, slow)
    await scene.idle(thread, 2)
    assert said(scene, thread) == ["slow", "after it"]
    assert followed.shown_reactions == ["🆗"]


async def test_a_message_keeps_its_place_before_one_that_comes_as_the_wait_for_the_history_ends(scene: Scene):
    thread = scene.bob.starts_thread(scene.channel, "Who broke it?")
    scene.asks("")
    await scene.server.wait_for_message(scene.channel)  # the client knows the thread then: events come in order
    history = scene.chat._backfill._histories[thread.id] = HistoryProgress(0)
    first, second = (unheard(scene, thread, text) for text in ("the parser", f"{scene.server.bot.mention} say two"))
    waits = asyncio.create_task(client(scene).on_message(first))
    await asyncio.sleep(0)
    comes = asyncio.create_task(client(scene).on_message(second))
    history.end()  # the second one looks first after that
    await asyncio.gather(waits, comes)
    await scene.says(thread, "two")
    assert thread.messages[first.id].shown_reactions == []
    assert scene.harness.row(str(thread.id)).queued == 0


def client(scene: Scene) -> Any:
    return scene.chat.outbox.rest.client


def unheard(scene: Scene, thread: Channel, text: str) -> discord.Message:
    """A message that the gateway reports to nobody."""
    world = scene.server.world
    made = state.Message(world.snowflake(), thread, scene.bob, text)
    thread.messages[made.id] = made
    world.resolve_mentions(made)
    data = payloads.message(made, world.cdn, world.bot, gateway=True, content=True, created=True)
    return compat.message_of(client(scene).get_channel(thread.id), data)


async def test_a_thread_whose_first_message_is_deleted_is_answered(scene: Scene):
    async with away(scene):
        mention = scene.asks("say one")
        thread = scene.server.make_thread(scene.channel, scene.server.bot, "one", from_message=mention)
        scene.ada.says(thread, "say two")
        scene.eve.says(scene.channel, "news")
        scene.server.world.delete(mention)
    await scene.says(thread, "two")


async def test_a_slow_direct_channel_holds_up_no_other(tmp_path):
    async with staged(tmp_path, allow_dm=True) as scene:
        slow, other = scene.server.dm(scene.ada), scene.server.dm(scene.bob)
        for channel, person in ((other, scene.bob), (slow, scene.ada)):
            person.says(channel, "say one")
            await scene.idle(channel, 1)
        async with away(scene):
            for channel, person in ((other, scene.bob), (slow, scene.ada)):
                person.says(channel, "say two")

            def is_slow(call: Call) -> bool:
                return call.number("channel_id") == slow.id

            held = scene.server.faults.hold("GET", rest.CHANNEL, where=is_slow, times=10**6)
            also = scene.server.faults.hold("GET", rest.MESSAGES, where=is_slow, times=10**6)
        await scene.says(other, "two")
        assert said(scene, slow) == ["one"]
        held.release()
        also.release()
        await scene.says(slow, "two")


async def test_one_who_hurries_gets_a_spare_place_that_is_not_given_again():
    places, order = Places(1, 1), []

    async def read(key: int, until: asyncio.Event) -> None:
        async with places.hold(key):
            order.append(key)
            await until.wait()

    done = [asyncio.Event() for _ in range(4)]
    reads = [asyncio.create_task(read(key, until)) for key, until in enumerate(done)]
    await asyncio.sleep(0)
    places.hurry(2)
    places.hurry(3)
    await asyncio.sleep(0)
    assert order == [0, 2]
    done[2].set()
    await reads[2]
    await asyncio.sleep(0)
    assert order == [0, 2], "there is one place again, and it is held"
    for event in done:
        event.set()
    await asyncio.wait(reads)
    assert order == [0, 2, 3, 1]


async def test_the_history_that_a_new_message_waits_for_is_read_next():
    places, got = Places(1), []

    async def read(key: int) -> None:
        async with places.hold(key):
            got.append(key)

    async with places.hold(0):
        reads = [asyncio.create_task(read(key)) for key in (1, 2, 3, 4)]
        await asyncio.sleep(0)
        places.hurry(3)
        places.hurry(99)
        reads[1].cancel()
    await asyncio.wait(reads)
    assert got == [3, 1, 4]
    await read(5)


async def test_a_place_that_is_given_to_a_cancelled_read_goes_to_the_next_one():
    places = Places(1)
    held = places.hold(0)
    await held.__aenter__()
    waiting = asyncio.create_task(places.hold(1).__aenter__())
    await asyncio.sleep(0)
    await held.__aexit__(None, None, None)
    waiting.cancel()
    await asyncio.wait([waiting])
    async with asyncio.timeout(5), places.hold(2):
        pass


def history(scene: Scene, *messages: Message) -> list[Any]:
    """What Discord answers for the history that consists of these."""
    cdn, bot = scene.server.world.cdn, scene.server.bot
    return [payloads.message(one, cdn, bot, gateway=False) for one in reversed(messages)]


@pytest.mark.parametrize("odd", [{"embeds": ["no object"]}, {"poll": {"expiry": None}}, {"sticker_items": [{}]}])
async def test_an_odd_part_of_a_missed_message_costs_only_that_part(scene: Scene, odd: dict[str, Any]):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    async with away(scene):
        page = history(scene, scene.ada.says(thread, "say odd"), scene.bob.says(thread, "say two"))
        page[-1] |= odd
        scene.server.faults.status(200, "GET", rest.MESSAGES, body=page)
    await scene.idle(thread, 3)
    assert said(scene, thread) == ["one", "odd", "two"]


@pytest.mark.parametrize("odd", [{"author": {"id": "1"}}, {"content": None}, {"attachments": None}, {"id": None}])
async def test_a_missed_message_that_cannot_be_read_hides_none_after_it(scene: Scene, odd: dict[str, Any]):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    async with away(scene):
        page = history(scene, scene.ada.says(thread, "say odd"), scene.bob.says(thread, "say two"))
        page[-1] |= odd
        scene.server.faults.status(200, "GET", rest.MESSAGES, body=page)
    await scene.says(thread, "two")
    await scene.idle(thread, 2)
    assert said(scene, thread) == ["one", "two"]
