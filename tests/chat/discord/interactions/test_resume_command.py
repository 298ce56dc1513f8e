"""`/resume` in Discord: an admin has a thread go on with a conversation that was begun elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from acpbot.chat.discord.interactions import menus
from acpbot.chat.discord.interactions.command_text import NO_SESSION
from acpbot.chat.discord.interactions.commands import definitions
from acpbot.chat.discord.interactions.resume_command import NOT_ADMIN
from tests.chat.discord.interactions.test_commands import answer_to
from tests.chat.discord.interactions.test_option_menus import shown
from tests.chat.discord.test_bound_channels import bind
from tests.support.conversations import conversations
from tests.support.discord_scene import Scene, staged

LISTED: list[dict[str, Any]] = [
    {"sessionId": "old", "title": "An *old* one", "updatedAt": "2026-01-01T08:00:00Z"},
    {"sessionId": "new", "title": "", "updatedAt": "2026-01-02T08:00:00Z"},
    *({"sessionId": f"s{number}", "title": f"Number {number}"} for number in range(30)),
]


def knowing(tmp_path, *, allow: bool = True, **script: Any):
    """Ada is an admin; the agent knows ``LISTED``."""
    limits = {"argv": conversations(**{"listed": LISTED, "page": 10} | script)}

    def setup(scene: Scene) -> dict[str, Any]:
        return {"admin_users": (str(scene.ada.id),)}

    return staged(tmp_path, limits=limits, setup=setup, allow_resume=allow)


def test_the_command_is_registered_only_where_it_is_allowed():
    assert "resume" not in [one["name"] for one in definitions(dms=False)]
    assert "resume" in [one["name"] for one in definitions(dms=False, resume=True)]


async def test_an_admin_picks_a_conversation_and_the_thread_goes_on_with_it(tmp_path):
    async with knowing(tmp_path) as scene:
        thread = await scene.opens("first")
        await scene.idle(thread, 1)
        menu = await shown(scene, "resume", thread)
        assert menu.text.startswith("Conversations of `demo` in this thread's folder.")
        assert menu.text.endswith("These are the latest 25.")
        assert menu.labels[:3] == ["(untitled)", "An *old* one", "Number 0"]
        assert len(menu.labels) == 25
        await menu.select("An *old* one")
        assert menu.text == "Done. This thread continues that conversation."
        await scene.says(thread, f"{scene.ada.mention} switched this thread to another conversation.")
        scene.ada.says(thread, "second")
        await scene.says(thread, "second")
        assert scene.harness.row(str(thread.id)).acp_session_id == "old"
        again = await shown(scene, "resume", thread)
        assert "An *old* one" not in again.labels, "the thread has it"


async def test_nobody_but_an_admin_sees_or_takes_up_anything(tmp_path):
    async with knowing(tmp_path) as scene:
        thread = await scene.opens("first")
        await scene.idle(thread, 1)
        before = scene.harness.row(str(thread.id)).acp_session_id
        assert await answer_to(scene, "resume", thread, scene.bob) == NOT_ADMIN
        menu = await shown(scene, "resume", thread)
        await menu.select("An *old* one", who=scene.bob)
        assert menu.text == NOT_ADMIN
        assert scene.harness.row(str(thread.id)).acp_session_id == before


async def test_where_it_is_not_allowed_an_admin_gets_nothing_either(tmp_path):
    async with knowing(tmp_path, allow=False) as scene:
        thread = await scene.opens("first")
        await scene.idle(thread, 1)
        answer = await shown(scene, "status", thread)
        await answer.send(menus.Pressed("resume", menus.digest("demo")).custom_id, menus.digest("old"))
        assert answer.text == NOT_ADMIN


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ({"listed": []}, "The agent has no other conversations in this thread's folder."),
        ({"offers": ["resume"]}, "The agent can't list its conversations here. An admin can check the log."),
    ],
)
async def test_a_list_without_anything_is_said_in_a_sentence(tmp_path, script, says):
    async with knowing(tmp_path, **script) as scene:
        thread = await scene.opens("first")
        await scene.idle(thread, 1)
        assert await answer_to(scene, "resume", thread) == says


async def test_outside_of_a_thread_there_is_nothing_to_take_up(tmp_path):
    async with knowing(tmp_path) as scene:
        assert await answer_to(scene, "resume", scene.channel) == NO_SESSION


async def test_a_selection_that_is_out_of_date_takes_nothing_up(tmp_path):
    async with knowing(tmp_path) as scene:
        thread = await scene.opens("first")
        await scene.idle(thread, 1)
        menu = await shown(scene, "resume", thread)
        assert menu.menu is not None
        await menu.send(menu.menu["custom_id"], menus.digest("gone"))
        assert menu.text == menus.STALE


async def test_a_thread_of_a_bound_channel_stays_in_its_folder(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    async with knowing(tmp_path) as scene:
        bind(scene, working_dir=folder)
        thread = await scene.opens("first")
        await scene.idle(thread, 1)
        menu = await shown(scene, "resume", thread)
        await menu.select("An *old* one")
        await scene.server.wait_for(
            lambda: scene.harness.row(str(thread.id)).acp_session_id == "old", what="the old one"
        )
        assert scene.harness.row(str(thread.id)).cwd == str(folder)
