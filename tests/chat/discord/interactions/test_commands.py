"""Slash commands: answered to the one who gave them, and to nobody else."""

from __future__ import annotations

import pytest
from msgspec import structs

from acpbot.chat.discord.interactions import commands
from acpbot.chat.discord.interactions.command_text import NOT_HERE
from acpbot.chat.rendering.markdown import code
from acpbot.chat.thread_commands import FRESH, RESET, status_text
from acpbot.errors import Draining
from acpbot.sessions.views import Target
from acpbot.times import short_duration
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged


async def answer_to(scene: Scene, command: str, channel, who=None, **options: str) -> str:
    """What the command answers; everything is for its user alone."""
    answer = await scene.server.wait_for_answer((who or scene.ada).slash(command, options, channel=channel), seconds=10)
    assert all(one.ephemeral for one in answer.messages)
    assert answer.seconds is not None
    assert answer.seconds < 3
    return answer.answer_text


async def test_all_commands_are_registered(scene: Scene):
    names = {one["name"] for one in scene.server.commands()}
    assert names == {
        *("status", "cancel", "close", "reset", "model", "mode", "options", "agent", "file", "retry", "sessions"),
        *("export", "help"),
    }
    assert all(one["contexts"] == [0] for one in commands.definitions(dms=False))


async def test_status_cancel_and_sessions_answer(scene: Scene):
    assert "Nothing is running here." in await answer_to(scene, "status", scene.channel)
    thread = await scene.opens("say first; sleep 60")
    await scene.says(thread, "first", "sleep 60")
    status = await answer_to(scene, "status", thread)
    assert "🔥 working · agent `demo`" in status
    assert "Running: `sleep 60`" in status
    assert "Model: " in status
    assert thread.mention in await answer_to(scene, "sessions", scene.channel)
    assert "You have no sessions" in await answer_to(scene, "sessions", scene.channel, scene.bob)
    assert "Stopping" in await answer_to(scene, "cancel", thread)
    await scene.idle(thread, 1)
    assert "Nothing is running here." in await answer_to(scene, "cancel", thread)
    assert "💤 idle" in await answer_to(scene, "status", thread)
    row = structs.replace(scene.harness.row(str(thread.id)), idle_seconds=300.0, turns=1)
    text = status_text(row, None, code)
    assert text.startswith("💤 idle for 5 min · agent `demo` · 1 turn\n")
    assert text.casefold().count("idle") == 1


async def test_a_stranger_gets_one_line_and_changes_nothing(scene: Scene):
    thread = await scene.opens("say first; sleep 60")
    await scene.says(thread, "first")
    for name in ("cancel", "reset", "status"):
        assert await answer_to(scene, name, thread, scene.eve) == NOT_HERE
    assert scene.harness.row(str(thread.id)).state == "busy"


async def test_reset_starts_over(scene: Scene):
    thread = await scene.opens("remember it")
    await scene.idle(thread, 1)
    assert await answer_to(scene, "reset", thread) == FRESH
    await scene.says(thread, RESET.format(scene.ada.mention))
    assert "operator" not in scene.text(thread)
    scene.ada.says(thread, "recall")
    await scene.says(thread, "You told me to remember nothing.")


async def test_model_and_mode_are_shown_proposed_and_chosen(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    assert "shout" in await answer_to(scene, "model", thread)
    typing = scene.ada.autocompletes("model", "name", "sho", channel=thread)
    await scene.server.wait_for(lambda: typing.answered)
    assert typing.response is not None
    assert [one["value"] for one in typing.response["choices"]] == ["shout"]
    assert await answer_to(scene, "model", thread, name="shout") == "The model is now `shout`."
    scene.ada.says(thread, "quietly")
    await scene.says(thread, "You said: QUIETLY")
    assert "Mode: `Ask`" in await answer_to(scene, "status", thread)
    assert await answer_to(scene, "mode", thread, name="auto") == "The mode is now `auto`."
    unasked = "In this mode the agent doesn't always ask before it acts."
    await scene.says(thread, f"{scene.ada.mention} switched the mode to `auto`. {unasked}")
    assert f"Mode: `Auto`\n{unasked}" in await answer_to(scene, "status", thread)
    assert "This agent has no mode 'none'." in await answer_to(scene, "mode", thread, name="none")


async def test_another_agent_starts_the_thread_over(scene: Scene):
    scene.harness.offer_agents("demo", "other")
    thread = await scene.opens("remember it")
    await scene.idle(thread, 1)
    assert "▶️ demo" in await answer_to(scene, "agent", thread)
    unknown = await answer_to(scene, "agent", thread, name="none")
    assert unknown == "I don't know the agent `none`. You can use `demo`, `other`."
    assert "already uses `demo`" in await answer_to(scene, "agent", thread, name="demo")
    assert "now uses `other`" in await answer_to(scene, "agent", thread, name="other")
    assert scene.harness.row(str(thread.id)).agent == "other"
    scene.ada.says(thread, "recall")
    await scene.says(thread, "You told me to remember nothing.")


async def test_while_draining_the_agent_stays_and_with_it_the_conversation(scene: Scene):
    scene.harness.offer_agents("demo", "other")
    thread = await scene.opens("remember the blue door")
    await scene.idle(thread, 1)
    scene.pool.draining = True
    assert Draining.for_people in await answer_to(scene, "agent", thread, name="other")
    scene.pool.draining = False
    scene.ada.says(thread, "recall")
    await scene.says(thread, "the blue door")


async def test_help_names_the_agent_s_own_commands(scene: Scene):
    thread = await scene.opens("commands")
    await scene.idle(thread, 1)
    text = await answer_to(scene, "help", thread)
    assert "`/reset`" in text
    assert "`/remember`" in text


async def test_a_kill_by_an_operator_is_reported_in_the_thread(scene: Scene):
    thread = await scene.opens("say first; sleep 60")
    await scene.says(thread, "first")
    row = scene.harness.row(str(thread.id))
    (result,) = await scene.pool.kill([Target(thread_id=row.thread_id, session_id=str(row.session_id))])
    assert (result.outcome, result.processes_left) == ("ended", 0)
    text = await scene.says(thread, "An admin stopped this session.")
    assert text.count("An admin stopped this session.") == 1
    scene.ada.says(thread, "say again")
    await scene.says(thread, "again")


async def test_a_slow_command_is_deferred(tmp_path):
    async with staged(tmp_path, prompt=0.1, limits={"grace_seconds": 0.5}) as scene:
        thread = await scene.opens("ignore; hang")
        await scene.says(thread, "I ignore SIGTERM")
        answer = scene.ada.slash("reset", {}, channel=thread)
        await scene.server.wait_for(lambda: answer.deferred, what="a deferral")
        await scene.server.wait_for_answer(answer, seconds=10)
        assert answer.answer_text == FRESH


async def test_a_command_that_comes_twice_runs_once(scene: Scene):
    thread = await scene.opens("remember it")
    await scene.idle(thread, 1)
    reset = scene.ada.slash("reset", {}, channel=thread)
    scene.server.interactions.tell(reset)
    await scene.server.wait_for_answer(reset)
    assert "nothing" not in (await answer_to(scene, "help", thread)), "all that came before was handled"
    assert reset.answer_text == FRESH
    assert scene.text(thread).count("reset this thread") == 1
    assert len(scene.server.requests_to("POST", rest.CALLBACK)) == 2


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["503", "abort"])
async def test_a_response_that_may_be_lost_is_sent_again(scene: Scene, how, when):
    if how == "503":
        scene.server.faults.status(503, "POST", rest.CALLBACK, when=when)
    else:
        scene.server.faults.abort("POST", rest.CALLBACK, when=when)
    assert "Nothing is running here." in await answer_to(scene, "status", scene.channel)
    second = await scene.server.wait_for_request("POST", rest.CALLBACK, 2)
    assert second.code == (40060 if when == "after" else None)


async def test_the_answer_after_a_deferral_is_sent_again(tmp_path):
    async with staged(tmp_path, prompt=0.1, limits={"grace_seconds": 0.5}) as scene:
        thread = await scene.opens("ignore; hang")
        await scene.says(thread, "I ignore SIGTERM")
        scene.server.faults.abort("PATCH", rest.ORIGINAL, when="after", times=2)
        answer = scene.ada.slash("reset", {}, channel=thread)
        await scene.server.wait_for_request("PATCH", rest.ORIGINAL, 3, seconds=10)
        assert answer.answer_text == FRESH
        assert len(answer.messages) == 1


async def test_commands_that_were_refused_are_registered_with_the_next_connection(tmp_path):
    def refuse(server) -> None:
        server.faults.status(403, "PUT", rest.COMMANDS)

    async with staged(tmp_path, faults=refuse, registered=False) as scene:
        await scene.server.wait_for_request("PUT", rest.COMMANDS)
        await scene.server.gateway.close(4012)
        await scene.server.wait_for(scene.server.commands, seconds=10)


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "1 s"), (600, "10 min"), (7200, "2 h"), (86_400, "24 h"), (222_000, "3 days")]
)
def test_durations_are_short_for_people(seconds, words):
    assert short_duration(seconds) == words


async def test_what_is_chosen_while_no_agent_runs_is_set_when_it_starts_next(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    await answer_to(scene, "close", thread)
    assert "Pick a model, and I" in await answer_to(scene, "model", thread)
    later = "When the agent starts next, I'll set the model to `SHOUT`."
    assert await answer_to(scene, "model", thread, name="SHOUT") == later
    assert later in await answer_to(scene, "status", thread)
    assert later in await answer_to(scene, "options", thread)
    assert "Only" in await answer_to(scene, "model", thread, scene.bob, name="plain")
    await answer_to(scene, "options", thread, name="effort", value="high")
    await answer_to(scene, "mode", thread, name="warp")
    await scene.says(thread, f"{scene.ada.mention} chose the mode `warp` for the agent's next start.")
    scene.ada.says(thread, "quietly")
    await scene.says(thread, "You said: QUIETLY", "I couldn't set the agent's `mode` to `warp` again")
    known = scene.pool.thread(str(thread.id))
    assert known is not None
    assert known.chosen == {"model": "SHOUT", "effort": "high"}


async def test_choices_are_proposed_while_no_agent_runs_as_another_thread_s_agent_offers_them(scene: Scene):
    other = await scene.opens("say first")
    await scene.idle(other, 1)
    scene.asks("say first")
    await scene.server.wait_for(lambda: len(scene.pool.sessions()) == 2)
    thread = next(one for one in scene.server.threads_of(scene.channel) if one is not other)
    await scene.idle(thread, 1)
    await answer_to(scene, "close", thread)
    typing = scene.ada.autocompletes("model", "name", "sho", channel=thread)
    await scene.server.wait_for(lambda: typing.answered)
    assert typing.response is not None
    assert [one["value"] for one in typing.response["choices"]] == ["shout"]
    assert (await answer_to(scene, "model", thread)).endswith("offers `plain`, `shout`.")
    assert (
        await answer_to(scene, "model", thread, name="SHOUT")
        == "When the agent starts next, I'll set the model to `shout`."
    )


async def test_close_archives_the_thread_and_the_next_message_reopens_it_and_resumes(scene: Scene):
    thread = await scene.opens("remember the blue door")
    await scene.idle(thread, 1)
    answer = await answer_to(scene, "close", thread)
    assert answer == "Done. Send a message to carry on where you left off."
    await scene.server.wait_for(lambda: thread.archived, what="the archive")
    closed = f"{scene.ada.mention} closed this session."
    await scene.server.wait_for(lambda: closed in scene.text(thread), what="the notice")
    scene.ada.says(thread, "recall")
    await scene.says(thread, "the blue door")
    assert not thread.archived


async def test_a_thread_that_is_closed_in_the_middle_of_a_turn_stays_archived(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    asked = scene.ada.says(thread, "say second; sleep 60")
    await scene.says(thread, "second")
    await answer_to(scene, "close", thread)
    await scene.server.wait_for(lambda: thread.archived, what="the archive")
    assert await scene.chat.outbox.flush(10)
    assert thread.archived
    assert asked.shown_reactions == []
    scene.ada.says(thread, "say third")
    await scene.says(thread, "third")


async def test_close_archives_a_thread_without_an_agent_too(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    row = scene.harness.row(str(thread.id))
    await scene.pool.kill([Target(thread_id=row.thread_id, session_id=str(row.session_id))])
    assert "No agent is running here." in await answer_to(scene, "close", thread)
    await scene.server.wait_for(lambda: thread.archived, what="the archive")


async def test_a_thread_that_discord_does_not_let_us_archive_is_closed_all_the_same(scene: Scene):
    thread = await scene.opens("say first; sleep 60")
    await scene.says(thread, "first")
    scene.server.faults.status(403, "PATCH", rest.CHANNEL)
    assert (await answer_to(scene, "close", thread)).startswith("Done.")
    await scene.server.wait_for_request("PATCH", rest.CHANNEL)
    assert scene.pool.get(str(thread.id)) is None
    assert not thread.archived


async def test_an_option_of_an_agent_that_still_starts_is_set_and_shown_once_it_has_started(scene: Scene):
    thread = await scene.opens("say first")
    await scene.server.wait_for(lambda: scene.pool.get(str(thread.id)) is not None)
    assert await answer_to(scene, "model", thread, name="shout") == "The model is now `shout`."
    assert "shout" in await answer_to(scene, "model", thread)
