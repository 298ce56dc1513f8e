"""Cuts, outages, refusals and lost answers of Discord: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import asyncio
import time

import pytest

from acpbot.chat.discord.gateway.supervisor import IDENTIFIES, IDENTIFY_SECONDS, IdentifyLimiter, SilenceDetector
from acpbot.errors import ConfigError
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged
from tests.support.pool import Clock

PARTS = [f"part {number}" for number in range(6)]
SLOWLY = "; ".join(f"say {part}; stall 0.03" for part in PARTS)


def whole(scene: Scene, thread) -> bool:
    text = scene.text(thread)
    return all(text.count(part) == 1 for part in PARTS) and text.index(PARTS[0]) < text.index(PARTS[-1])


async def test_a_cut_gateway_is_resumed_and_nothing_is_lost(scene: Scene):
    thread = await scene.opens(SLOWLY)
    await scene.says(thread, PARTS[1])
    session = scene.harness.row(str(thread.id)).session_id
    scene.server.gateway.cut()
    scene.ada.says(thread, "say while away")
    await scene.idle(thread, 2)
    assert whole(scene, thread)
    assert "while away" in scene.text(thread)
    assert (scene.server.gateway.identifies, scene.server.gateway.resumes) == (1, 1)
    assert scene.harness.row(str(thread.id)).session_id == session
    facts = scene.chat.facts()
    assert facts.connected
    assert facts.disconnected_seconds is None
    assert facts.since is not None


async def test_an_outage_in_the_middle_of_an_answer_loses_nothing(scene: Scene):
    thread = await scene.opens(SLOWLY)
    await scene.says(thread, PARTS[0])
    await scene.server.stop()
    while scene.turns(thread) < 1:
        await asyncio.wait_for(scene.server.world.change(), 20)
    await scene.server.start()
    await scene.says(thread, PARTS[-1])
    assert await scene.chat.outbox.flush(10)
    assert whole(scene, thread)
    assert len(set(scene.server.nonces)) == len(scene.server.nonces)
    await scene.server.wait_until_connected(seconds=15)


@pytest.mark.parametrize(
    ("fault", "when"),
    [("503", "before"), ("503", "after"), ("abort", "before"), ("abort", "after"), ("reset", "after")],
)
async def test_a_lost_request_or_answer_makes_one_message(scene: Scene, fault, when):
    for route, method in ((rest.MESSAGES, "POST"), (rest.MESSAGE, "PATCH")):
        if fault == "503":
            scene.server.faults.status(503, method, route, when=when, times=2)
        else:
            scene.server.faults.abort(method, route, reset=fault == "reset", when=when)
    thread = await scene.opens(SLOWLY)
    await scene.idle(thread, 1)
    assert whole(scene, thread)
    assert len(scene.bodies(thread)) == 1
    assert len(scene.server.nonces) == 1


async def test_a_thread_is_opened_once_where_the_answer_was_lost(scene: Scene):
    scene.server.faults.abort("POST", rest.MESSAGE_THREADS, when="after")
    thread = await scene.opens("say hello")
    await scene.says(thread, "hello")
    assert len(scene.server.threads_of(scene.channel)) == 1


async def test_a_thread_is_unarchived_for_the_end_of_the_answer(scene: Scene):
    thread = await scene.opens("say one; stall 0.1; say two")
    await scene.says(thread, "one")
    scene.ada.archives(thread)
    await scene.idle(thread, 1)
    assert scene.text(thread) == "onetwo"


async def test_a_thread_is_unarchived_for_the_last_reaction(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    message = scene.ada.says(thread, "stall 0.1; error")
    await scene.server.wait_for(lambda: message.shown_reactions == ["🤔"])
    scene.ada.archives(thread)
    await scene.idle(thread, 2)
    assert message.shown_reactions == ["😱"]


async def test_all_messages_after_a_message_are_found(scene: Scene):
    first = scene.ada.says(scene.channel, "one")
    later = [str(scene.ada.says(scene.channel, f"{number}").id) for number in range(230)]
    found = await scene.chat.outbox.rest.posted_since(str(scene.channel.id), str(first.id))
    assert [message["id"] for message in found] == later


async def test_a_response_that_is_not_from_discord_is_tried_again(scene: Scene):
    for route in (rest.MESSAGE_THREADS, rest.MESSAGES):
        scene.server.faults.status(200, "POST", route, body="<html>Log in to this network</html>")
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    assert scene.text(thread) == "one"


async def test_a_deleted_answer_and_a_locked_thread_stop_nothing(scene: Scene):
    thread = await scene.opens("say one; stall 0.1; say two")
    await scene.says(thread, "one")
    scene.ada.deletes(scene.bodies(thread)[0])
    await scene.idle(thread, 1)
    assert scene.text(thread) == ""
    scene.ada.says(thread, "stall 0.1; say three")
    await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).state == "busy")
    scene.ada.archives(thread, locked=True)
    await scene.idle(thread, 2)
    message = scene.asks("say on")
    other = await scene.server.wait_for(lambda: message.thread)
    await scene.says(other, "on")


async def test_a_wrong_token_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="refuses the bot token"):
        async with staged(tmp_path, bot_token="wrong.made-up.token"):
            pytest.fail("it is connected")


async def test_a_missing_intent_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="Message Content"):
        async with staged(tmp_path, privileged=()):
            pytest.fail("it is connected")


@pytest.mark.parametrize("trouble", ["malformed", "closed", "unknown", "asked to reconnect", "invalid"])
async def test_the_bot_reconnects_after_each_kind_of_trouble(scene: Scene, trouble):
    gateway = scene.server.gateway
    if trouble == "malformed":
        gateway.malformed("READY")
    elif trouble == "asked to reconnect":
        await gateway.reconnect()
    elif trouble == "invalid":  # resumable: else discord.py waits five seconds before it identifies anew
        await gateway.invalidate(resumable=True)
    else:
        await gateway.close(4000 if trouble == "closed" else 4012)
    await scene.server.wait_for(lambda: gateway.identifies + gateway.resumes >= 2, seconds=15)
    await scene.server.wait_until_connected(seconds=15)
    thread = await scene.opens("say back")
    await scene.says(thread, "back")


def refuse_at_first(server) -> None:
    server.faults.status(503, "GET", rest.ME)
    server.faults.abort("GET", rest.ME, nth=1, times=2)


async def test_the_first_connection_may_fail_again_and_again(tmp_path):
    async with staged(tmp_path, faults=refuse_at_first) as scene:
        thread = await scene.opens("say hello")
        await scene.says(thread, "hello")
        assert len(scene.server.requests_to("GET", rest.ME)) == 3


async def test_a_gateway_that_refuses_connections_is_tried_again(tmp_path):
    async with staged(tmp_path, patience=0.3) as scene:
        gateway = scene.server.gateway
        gateway.refuse()
        gateway.cut()
        await scene.server.wait_for(lambda: gateway.refused >= 3, seconds=10)
        facts = scene.chat.facts()
        assert not facts.connected
        assert (facts.disconnected_seconds or 0) > 0
        assert (facts.latency_ms, facts.heartbeat_ack_seconds) == (None, None)
        gateway.accept()
        await scene.server.wait_until_connected(seconds=10)
        thread = await scene.opens("say back")
        await scene.says(thread, "back")
        assert scene.chat.facts().connected


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_silent_gateway_is_cut_off_and_its_session_resumed(tmp_path, deaf):
    """Half-open: nothing comes any more, and no end either. What was written meanwhile is answered, once."""
    async with staged(tmp_path, heartbeat=0.4, silence=0.15) as scene:
        gateway = scene.server.gateway
        thread = await scene.opens("say one")
        await scene.idle(thread, 1)
        gateway.half_open(deaf=deaf)
        scene.ada.says(thread, "say while deaf")
        await scene.says(thread, "while deaf", seconds=5)
        await scene.idle(thread, 2)
        assert scene.text(thread).count("while deaf") == 1
        assert (gateway.identifies, gateway.resumes) == (1, 1)


async def test_a_gateway_that_acknowledges_heartbeats_is_not_cut_off(tmp_path):
    async with staged(tmp_path, heartbeat=0.2, silence=0.9) as scene:
        gateway = scene.server.gateway
        await scene.server.wait_for(lambda: gateway.heartbeats >= 7)
        assert (gateway.identifies, gateway.resumes, len(gateway.closes)) == (1, 0, 0)


class Heart:
    def __init__(self) -> None:
        self._last_send = self._last_recv = time.perf_counter() - 100


def test_silence_counts_from_the_first_unanswered_heartbeat():
    heart, hearing = Heart(), SilenceDetector()
    assert hearing.silent_seconds(None) == 0
    assert hearing.silent_seconds(heart) == 0
    assert hearing.silent_seconds(heart) == 0, "no heartbeat, no answer"
    heart._last_recv += 10
    heart._last_send = heart._last_recv + 0.1  # noted late: the answer came first
    assert hearing.silent_seconds(heart) == 0
    assert hearing.silent_seconds(heart) == 0
    heart._last_send += 40
    assert 40 < hearing.silent_seconds(heart) < 60
    heart._last_send += 40
    assert 40 < hearing.silent_seconds(heart) < 60, "from the first heartbeat on that was not answered"
    heart._last_recv = time.perf_counter()
    assert hearing.silent_seconds(heart) == 0
    heart._last_send = time.perf_counter()
    assert hearing.silent_seconds(Heart()) == 0, "another connection"


def test_no_more_new_sessions_are_begun_than_discord_allows():
    clock = Clock()
    limiter = IdentifyLimiter(IDENTIFIES, IDENTIFY_SECONDS, clock)
    begun, day = 0, 24 * 3600
    while clock.now < 1000 + day:
        clock.move(limiter.reserve() + 0.5)
        begun += 1
    assert 700 < begun < 900
    clock.move(day)
    assert [limiter.reserve() for _ in range(3)] == [0, 0, 0]


async def test_latency_and_acknowledgement_of_heartbeats_are_reported(tmp_path):
    async with staged(tmp_path, heartbeat=0.05) as scene:
        await scene.server.wait_for(lambda: scene.server.gateway.heartbeats >= 2)
        thread = await scene.opens("say hello")
        await scene.says(thread, "hello")
        facts = scene.chat.facts()
    assert facts.platform == "discord"
    assert facts.latency_ms is not None
    assert facts.heartbeat_ack_seconds is not None
    assert 0 <= facts.latency_ms < 1000
    assert 0 <= facts.heartbeat_ack_seconds < 5


async def test_a_refused_edit_does_not_lose_the_end_of_the_answer(scene: Scene):
    scene.server.faults.status(400, "PATCH", rest.MESSAGE)
    thread = await scene.opens("say one; stall 0.1; say two; stall 0.1; say three")
    await scene.idle(thread, 1)
    assert scene.text(thread) == "onetwothree"
