"""Turns before they run: another text, blocks fitted to the agent, and threads that are forgotten."""

from __future__ import annotations

import asyncio

from acpbot.sessions.turn import Turn
from tests.support.pool import Listener


async def test_a_queued_turn_takes_another_text(harness):
    running = harness.send("t1", "stall 60")
    await asyncio.wait_for(running.running.wait(), 20)
    waiting = harness.send("t1", "say old")
    session = harness.session("t1")
    assert not session.turns.revise("no such key", [], "")
    assert not session.turns.withdraw("no such key")
    assert not session.turns.withdraw("stall 60"), "it runs already"
    assert not session.turns.revise("stall 60", [{"type": "text", "text": "say late"}], "say late"), "it runs already"
    assert session.turns.revise("say old", [{"type": "text", "text": "say new"}], "say new")
    session.turns.cancel()
    await asyncio.wait_for(waiting.over.wait(), 20)
    assert waiting.text == "new"


async def test_the_blocks_are_adapted_once_the_agents_capabilities_are_known(harness):
    seen = []

    def fit(blocks, capabilities):
        seen.append((capabilities.image, capabilities.embedded_context))
        return [*blocks, {"type": "text", "text": "say fitted"}]

    listener = Listener()
    turn = Turn([{"type": "text", "text": "say raw"}], listener, text="say raw", fit=fit)
    harness.pool.submit("t1", turn, platform="test")
    await asyncio.wait_for(listener.over.wait(), 20)
    assert listener.text == "fitted"
    assert seen == [(True, True)]


async def test_a_prompt_that_can_t_be_encoded_ends_its_own_turn_only(harness, caplog):
    listener = Listener()

    def fit(_blocks, _capabilities):
        return [object()]  # what no codec takes

    harness.pool.submit("t1", Turn([], listener, text="", fit=fit), platform="test")
    after = await harness.turn("t1", "say after")
    assert listener.end.stop_reason == "error"
    assert listener.error.startswith("cannot send this message to the agent: internal error")
    assert after.text == "after"
    assert "prompt_crashed" in caplog.messages


async def test_a_thread_is_forgotten_unless_it_has_a_session(harness):
    await harness.turn("t1", "remember it")
    assert not harness.pool.forget("t1")
    assert not harness.pool.forget("t2")
    ending = harness.session("t1").end("evicted")
    assert harness.pool.forget("t1"), "also while its last session ends"
    assert (await harness.turn("t1", "recall")).text.strip() == "You told me to remember nothing."
    assert ending.done()
