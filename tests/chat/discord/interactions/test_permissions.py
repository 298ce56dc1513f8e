"""Permission requests as buttons: who may press them, and what becomes of each."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from acpbot.chat.discord.interactions.command_text import NOT_HERE
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged


async def asked(scene: Scene, text: str = "tool echo hi"):
    """The thread of a turn that wants a permission, and the message with the buttons."""
    thread = await scene.opens(text)
    message = await scene.server.wait_for_message(thread, lambda one: one.asks)
    return thread, message


async def test_the_asker_allows_and_the_tool_runs(scene: Scene):
    thread, message = await asked(scene)
    assert [one["label"] for one in message.buttons] == [
        "Allow",
        "Always allow",
        "Reject",
        "Always reject",
    ]
    assert scene.bodies(thread)[0].content == "🔧 `echo hi`", "the tool call comes before the question"
    assert message.mentions == [scene.ada]
    click = await scene.server.wait_for_answer(scene.ada.clicks(message, label="Allow"))
    assert click.response_type == 7
    await scene.says(thread, "The command completed: hi")
    await scene.idle(thread, 1)
    assert message.content == f"✅ Allowed once by {scene.ada.mention}: `echo hi`"
    assert message.components == []
    assert len(message.versions) == 2, "the answer to the click is the only edit"


async def test_a_rejection_reaches_the_agent(scene: Scene):
    thread, message = await asked(scene)
    scene.ada.clicks(message, label="Reject")
    await scene.says(thread, "You didn't allow it")


async def test_always_allow_holds_for_the_session(scene: Scene):
    thread, message = await asked(scene)
    scene.ada.clicks(message, label="Always allow")
    await scene.idle(thread, 1)
    scene.ada.says(thread, "tool echo hi")
    await scene.idle(thread, 2)
    assert sum(bool(one.buttons) for one in scene.server.messages) == 0
    assert scene.text(thread).count("The command completed: hi") == 2


async def test_only_the_asker_and_admins_may_answer(tmp_path):
    async with staged(tmp_path, admin_users=("1",)) as scene:
        thread, message = await asked(scene)
        other = await scene.server.wait_for_answer(scene.bob.clicks(message, label="Allow"))
        assert "or an admin" in other.answer_text
        assert other.messages[0].visible_to is scene.bob
        stranger = await scene.server.wait_for_answer(scene.eve.clicks(message, label="Allow"))
        assert stranger.answer_text == NOT_HERE
        assert scene.harness.row(str(thread.id)).state == "waiting"
        assert message.buttons


async def test_the_owner_of_the_thread_answers_for_others(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    scene.bob.says(thread, "tool echo hi")
    message = await scene.server.wait_for_message(thread, lambda one: one.asks)
    scene.ada.clicks(message, label="Allow")
    await scene.says(thread, "The command completed: hi")


async def test_an_admin_answers_for_others(tmp_path):
    def ops(scene: Scene) -> dict[str, tuple[str, ...]]:
        role = scene.server.make_role(scene.guild, "ops")
        scene.server.give_roles(scene.guild, scene.bob, [role])
        return {"admin_role_ids": (str(role.id),)}

    async with staged(tmp_path, setup=ops) as scene:
        thread, message = await asked(scene)
        scene.bob.clicks(message, label="Allow")
        await scene.says(thread, "The command completed: hi")
        assert scene.bob.mention in message.content


async def test_the_second_click_gets_an_explanation(scene: Scene):
    thread, message = await asked(scene)
    custom_id = message.buttons[0]["custom_id"]
    scene.ada.clicks(message, custom_id)
    await scene.idle(thread, 1)
    late = await scene.server.wait_for_answer(scene.ada.sends_click(message, custom_id))
    assert "already answered" in late.answer_text


async def test_a_cancel_removes_the_buttons(scene: Scene):
    thread, message = await asked(scene)
    await scene.pool.cancel(str(thread.id))
    await scene.idle(thread, 1)
    assert message.buttons == []
    assert message.content == "⏹️ No longer needed: `echo hi`"


async def test_an_expired_request_says_so(tmp_path):
    async with staged(tmp_path, limits={"timeout_seconds": 0.2}) as scene:
        thread, message = await asked(scene)
        await scene.says(thread, "You didn't allow it")
        await scene.idle(thread, 1)
        assert message.content == "⌛ Timed out, so it wasn't run: `echo hi`"
        assert message.buttons == []


async def test_buttons_from_before_a_restart_are_stale(scene: Scene):
    thread, message = await asked(scene)
    stale = await scene.server.wait_for_answer(scene.ada.sends_click(message, "acpbot:0123456789abcdef-1:0"))
    await scene.server.wait_for(lambda: stale.answer_text)
    assert stale.answer_text == "This request has expired."
    assert stale.messages[0].visible_to is scene.ada
    assert scene.harness.row(str(thread.id)).state == "waiting"


async def test_old_buttons_from_before_a_crash_are_removed_by_a_click(scene: Scene):
    thread, message = await asked(scene)
    await scene.restart()
    await scene.pool.cancel(str(thread.id))
    await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).state == "idle")
    assert message.buttons
    stale = await scene.server.wait_for_answer(scene.ada.clicks(message, label="Allow"))
    await scene.server.wait_for(lambda: stale.answer_text)
    assert stale.answer_text == "This request has expired."
    assert message.buttons == []
    scene.ada.says(thread, "say on")
    await scene.says(thread, "on")


async def test_an_old_button_that_was_answered_says_so(scene: Scene):
    thread, message = await asked(scene)
    custom_id = message.buttons[0]["custom_id"]
    await scene.pool.cancel(str(thread.id))
    await scene.idle(thread, 1)
    for number in range(2):
        scene.ada.says(thread, f"say {number}")
    await scene.idle(thread, 3)
    late = await scene.server.wait_for_answer(scene.ada.sends_click(message, custom_id))
    assert late.answer_text == "This request is no longer needed."


async def test_a_click_that_comes_twice_counts_once(scene: Scene):
    thread, message = await asked(scene)
    click = scene.ada.clicks(message, label="Allow")
    scene.server.interactions.tell(click)
    await scene.says(thread, "The command completed: hi")
    await scene.idle(thread, 1)
    assert len(scene.server.requests_to("POST", rest.CALLBACK)) == 1
    assert click.response_type == 7


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_response_to_a_click_is_sent_again_where_it_may_be_lost(scene: Scene, when):
    thread, message = await asked(scene)
    scene.server.faults.abort("POST", rest.CALLBACK, when=when)
    click = scene.ada.clicks(message, label="Allow")
    await scene.idle(thread, 1)
    await scene.server.wait_for(lambda: click.answered)
    assert len(message.versions) == 2, "the answer to the click is the only edit"


async def test_the_message_is_edited_where_the_response_to_a_click_is_lost(scene: Scene):
    thread, message = await asked(scene)
    scene.server.faults.status(404, "POST", rest.CALLBACK)
    scene.ada.clicks(message, label="Allow")
    await scene.idle(thread, 1)
    assert message.content.startswith("✅ Allowed once")
    assert "The command completed: hi" in scene.text(thread)


@pytest.mark.parametrize("count", [3])
async def test_several_threads_ask_for_permissions_at_once(tmp_path, count):
    async with staged(tmp_path) as scene:
        messages = [scene.asks(f"tool echo {number}") for number in range(count)]
        await scene.server.wait_for(lambda: len(scene.server.threads_of(scene.channel)) == count)
        threads = scene.server.threads_of(scene.channel)
        assert {thread.id for thread in threads} == {message.id for message in messages}
        asks = await asyncio.gather(*(scene.server.wait_for_message(one, lambda m: m.asks) for one in threads))
        for ask in asks:
            scene.ada.clicks(ask, label="Allow")
        for thread in threads:
            await scene.says(thread, "The command completed")


AGENT = str(Path(__file__).parents[3] / "fakes" / "agents" / "deceitful.py")
DECEITFUL = {"argv": (sys.executable, "-S", AGENT)}
COMMAND = {"toolCallId": "t", "title": "stub", "kind": "execute", "rawInput": {"command": "git status"}}


def prompt(call: dict, **more) -> str:
    return json.dumps({"ask": call, **more})


async def test_the_prompt_shows_the_command_and_not_only_the_title(tmp_path):
    async with staged(tmp_path, limits=DECEITFUL) as scene:
        hidden = {**COMMAND, "rawInput": {"command": "git status" + " " * 2000 + "\u202e; rm -rf ~", "cwd": "/srv"}}
        thread, message = await asked(scene, prompt(hidden))
        assert message.content.startswith(
            "🔐 **Run this command?**\n```\ncommand: git status⟨2000 spaces⟩\\u202e; rm -rf ~\ncwd: /srv\n```\n"
            "The agent calls it `stub`.\nAlways covers exactly this"
        )
        assert f"\nWaiting for {scene.ada.mention} or an admin. Expires <t:" in message.content
        scene.ada.clicks(message, label="Allow")
        await scene.says(thread, "selected once")
        assert "rm -rf ~" in message.content, "what was allowed stays in the thread"


@pytest.mark.parametrize("length", [1, 2000])
async def test_a_change_is_shown_once_where_a_request_shows_all_of_it(tmp_path, length: int):
    async with staged(tmp_path, limits=DECEITFUL) as scene:
        change = {"type": "diff", "path": "a.py", "oldText": "one\n", "newText": "1\n" * length}
        call = {"toolCallId": "t", "title": "Edit a.py", "kind": "edit", "content": [change]}
        before, after = {**call, "status": "pending"}, {**call, "status": "completed"}
        thread, message = await asked(scene, prompt(call, before=before, after=after))
        scene.ada.clicks(message, label="Allow")
        await scene.says(thread, "selected once")
        await scene.idle(thread, 1)
        assert [one.content.partition("\n")[0] for one in scene.bodies(thread)] == [
            "✅ `Edit a.py`",
            f"✅ Allowed once by {scene.ada.mention}:",
            "selected once",
        ]
        assert "+1" in message.content


async def test_what_does_not_fit_is_attached_as_a_file(tmp_path):
    async with staged(tmp_path, limits=DECEITFUL) as scene:
        command = "git status\n" + "x" * 1500 + "; rm -rf ~"
        thread, message = await asked(scene, prompt({**COMMAND, "rawInput": {"command": command}}))
        assert "; rm -rf ~" in message.content
        (file,) = message.attachments
        assert (file.filename, file.data.decode()) == ("request.txt", command)
        scene.ada.clicks(message, label="Allow")
        await scene.says(thread, "selected once")


async def test_without_the_file_nobody_can_allow_it(tmp_path):
    async with staged(tmp_path, limits=DECEITFUL) as scene:
        scene.server.set_permissions(scene.channel, scene.guild.everyone, deny=["ATTACH_FILES"])
        long = {**COMMAND, "rawInput": {"command": "x" * 1500}}
        thread, message = await asked(scene, prompt(long))
        assert "⚠️ It can't be allowed: I couldn't attach the file that shows all of it." in message.content
        assert [one["label"] for one in message.buttons] == ["Reject", "Always reject"]
        scene.ada.clicks(message, label="Reject")
        await scene.says(thread, "selected no")


async def test_an_always_of_one_person_does_not_answer_for_another(tmp_path):
    async with staged(tmp_path, limits=DECEITFUL, admin_users=("1",)) as scene:
        thread, message = await asked(scene, prompt(COMMAND))
        scene.ada.clicks(message, label="Always allow")
        await scene.idle(thread, 1)
        assert message.content.startswith(f"✅ Allowed for this session by {scene.ada.mention}:")
        scene.bob.says(thread, prompt(COMMAND))
        again = await scene.server.wait_for_message(thread, lambda one: one.asks)
        scene.bob.clicks(again, label="Reject")
        await scene.idle(thread, 2)
        scene.ada.says(thread, prompt(COMMAND))
        await scene.says(thread, "🔐 Allowed by an earlier Always: `git status`")


async def test_a_request_that_changes_after_it_was_shown_says_so(tmp_path):
    async with staged(tmp_path, limits=DECEITFUL) as scene:
        change = {"toolCallId": "t", "rawInput": {"command": "rm -rf ~"}}
        thread = await scene.opens(prompt(COMMAND, while_open=change))
        await scene.says(
            thread, "⏹️ Rejected because the agent changed it after it was shown: `git status`", "selected no"
        )


async def test_what_a_policy_answers_is_one_line_of_the_answer(tmp_path):
    async with staged(tmp_path, limits={**DECEITFUL, "policy": "allow"}) as scene:
        link = {**COMMAND, "rawInput": {"command": "[click](https://x.test) `<@1>`"}}
        thread = await scene.opens(prompt(link, times=50))
        await scene.idle(thread, 1)
        line = "🔐 Allowed by policy: `[click](https://x.test) '<@1>'`"
        text = scene.text(thread)
        assert text.endswith(f"{line}\n{line}\n{line}\n🔐 47 more requests: 47 allowed by policy.")
        assert len(scene.bodies(thread)) == 1
