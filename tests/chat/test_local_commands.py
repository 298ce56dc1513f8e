"""The commands of the terminal's chat, with real agents: what they answer, and what they do to the thread."""

from __future__ import annotations

import asyncio

import pytest

from acpbot.chat.local import LocalChat
from acpbot.chat.thread_commands import FRESH
from acpbot.errors import Draining, InvalidParams
from tests.chat.test_local import Reader
from tests.support.pool import faulty


@pytest.fixture
async def chat(harness):
    return LocalChat(harness.pool)


@pytest.fixture
async def reader(chat):
    reader = Reader()
    await chat.open("demo", None, "me", reader)
    return reader


def notices(reader: Reader) -> list[str]:
    return [event["text"] for event in reader.events if event["type"] == "notice"]


@pytest.mark.usefixtures("reader")
async def test_a_command_waits_for_a_session_that_starts_and_sets_the_model(chat, harness):
    assert harness.row("demo").state == "starting"
    assert await chat.command("demo", "model", "Shout", "me") == "The model is now shout."
    assert harness.row("demo").model == "shout"
    shown = await chat.command("demo", "model", None, "me")
    assert shown.splitlines() == ["▫️ Plain (plain)", "▶️ Shout (shout)", "Set it with /model VALUE."]
    with pytest.raises(InvalidParams, match="this agent offers plain, shout"):
        await chat.command("demo", "model", "of-tomorrow", "me")


async def test_every_option_is_listed_shown_and_set_by_its_id_or_name(chat, reader):
    await chat.send("demo", "say a", "me")
    await reader.until("turn_end")
    assert "Effort (effort): Low" in (await chat.command("demo", "options", "", "me")).splitlines()
    assert "▶️ Low (low)" in await chat.command("demo", "options", "Effort", "me")
    assert await chat.command("demo", "options", "effort  high", "me") == "Effort is now High."
    assert await chat.command("demo", "options", "footer on", "me") == "Footer is now On."
    with pytest.raises(InvalidParams, match="cannot find the option 'warp 9': this agent has"):
        await chat.command("demo", "options", "warp 9", "me")


async def test_now_cancels_the_running_turn_and_sends_what_waits(chat, reader):
    assert await chat.command("demo", "now", None, "me") == "No message is waiting here."
    with pytest.raises(InvalidParams, match="cannot give /now a value"):
        await chat.command("demo", "now", "run", "me")
    await chat.send("demo", "say begun; stall 60", "me")
    await reader.until("text")
    await chat.send("demo", "say next", "me")
    answer = await chat.command("demo", "now", None, "me")
    assert answer == "Stopping the current answer to send the message that waits."
    end = await reader.until("turn_end")
    assert (end["stop_reason"], end["text"]) == ("cancelled", "begun")
    assert end["error"] == "Interrupted to send the next message."
    assert (await reader.until("turn_end", 2))["text"] == "next"


async def test_a_prompt_that_is_sent_to_run_now_interrupts(chat, reader):
    await chat.send("demo", "say begun; stall 60", "me")
    await reader.until("text")
    await chat.send("demo", "say waits", "me")
    assert await chat.send("demo", "say now", "me", now=True) == 1
    assert [(await reader.until("turn_end", count))["text"] for count in (1, 2, 3)] == ["begun", "now", "waits"]


async def test_everybody_in_the_thread_reads_of_a_mode_that_does_not_ask(chat, reader):
    assert await chat.command("demo", "mode", "auto", "me") == "The mode is now auto."
    assert notices(reader) == ["me switched the mode. In this mode the agent doesn't always ask before it acts."]
    status = await chat.command("demo", "status", None, "me")
    assert status.startswith("💤 idle · agent demo · 0 turns\n")
    assert "Mode: Auto" in status


async def test_a_reset_forgets_the_conversation_and_begins_one_with_the_same_agent(chat, reader, harness):
    harness.offer_agents("other", "demo")
    await chat.send("demo", "say a", "me")
    await reader.until("turn_end")
    before = harness.session("demo")
    assert await chat.command("demo", "reset", None, "me") == FRESH
    after = harness.session("demo")
    assert after is not before
    assert (after.thread.agent, after.thread.turns, after.thread.acp_session_id) == ("demo", 0, None)
    assert notices(reader) == ["me reset this thread. The next message starts a new conversation."]
    with pytest.raises(InvalidParams, match="takes none"):
        await chat.command("demo", "reset", "all", "me")


async def test_another_agent_starts_the_thread_over(chat, reader, harness):
    harness.offer_agents("demo", "other")
    listed = await chat.command("demo", "agent", None, "me")
    assert listed.splitlines() == ["▶️ demo", "▫️ other", "Switch with /agent NAME. This thread then starts fresh."]
    assert await chat.command("demo", "agent", "demo", "me") == "This thread already uses demo."
    with pytest.raises(InvalidParams, match="the agents are demo, other"):
        await chat.command("demo", "agent", "of-tomorrow", "me")
    assert await chat.command("demo", "agent", "other", "me") == "This thread now uses other."
    assert harness.row("demo").agent == "other"
    assert notices(reader) == ["me switched to other. Earlier context isn't carried over."]
    harness.pool.draining = True
    with pytest.raises(Draining):
        await chat.command("demo", "agent", "demo", "me")
    assert harness.row("demo").agent == "other"


@pytest.mark.usefixtures("reader")
async def test_a_reset_of_a_thread_whose_agent_is_gone_begins_with_the_default_one(chat, harness):
    harness.offer_agents("other")
    await chat.command("demo", "reset", None, "me")
    assert harness.row("demo").agent == "other"


@pytest.mark.usefixtures("reader")
async def test_without_a_session_an_option_is_kept_for_the_next_one(chat, harness):
    await harness.pool.suspend("demo", harness.session("demo").session_id)
    nothing = "No agent is running here.\nPick a model, and I'll set it when the agent starts."
    assert await chat.command("demo", "model", None, "me") == nothing
    later = "When the agent starts next, I'll set the model to shout."
    assert await chat.command("demo", "model", "shout", "me") == later
    effort = "When the agent starts next, I'll set effort to high."
    assert await chat.command("demo", "options", "effort high", "me") == effort
    assert await chat.command("demo", "model", None, "me") == f"No agent is running here.\n{later}"
    assert (await chat.command("demo", "options", None, "me")).splitlines()[1] == later
    with pytest.raises(InvalidParams, match="cannot keep 'model' for later"):
        await chat.command("demo", "model", "x" * 500, "me")
    status = await chat.command("demo", "status", None, "me")
    assert status.startswith("🌙 asleep")
    assert later in status
    await chat.command("demo", "reset", None, "me")
    assert harness.row("demo").state == "starting"


async def test_a_command_for_an_agent_that_can_not_start_ends_with_its_start(make_harness):
    chat = LocalChat(make_harness(argv=faulty("exit-at-once")).pool)
    await chat.open("demo", None, "me", Reader())
    assert (await chat.command("demo", "model", None, "me")).endswith(
        "Pick a model, and I'll set it when the agent starts."
    )


@pytest.mark.usefixtures("reader")
async def test_what_is_set_while_a_session_ends_is_kept_for_the_next_one(chat, harness):
    session = harness.session("demo")
    await chat.command("demo", "model", None, "me")
    ending = session.end("suspended")
    assert "starts next" in await chat.command("demo", "model", "shout", "me")
    await ending
    assert harness.pool.thread("demo").chosen == {"model": "shout"}


async def test_the_last_lines_are_those_that_a_new_reader_has_not_missed(chat, reader, harness):
    await chat.send("demo", "say hello", "me")
    await reader.until("turn_end")
    lines = [line["text"] for line in await chat.recent("demo", 10)]
    assert lines[-2:] == ["hello", "end_turn"]
    assert await chat.recent("demo", 1) == (await chat.recent("demo", 10))[-1:]
    assert (await chat.recent("unknown", 10)) == []
    await chat.send("demo", "say bye", "me")
    chat.leave("demo", reader)
    await asyncio.wait_for(harness.pool.quiet(), 20)
    assert (await chat.recent("demo", 10)) == [], "the whole turn is sent again"
