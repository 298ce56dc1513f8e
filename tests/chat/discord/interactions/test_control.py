"""Who may end and change the session of a thread: its owner, who asked for the running turn, and admins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chat.discord.interactions.test_commands import answer_to
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel

CHANGES: list[tuple[str, dict[str, str]]] = [
    ("cancel", {}),
    ("close", {}),
    ("reset", {}),
    ("model", {"name": "shout"}),
    ("mode", {"name": "auto"}),
    ("agent", {"name": "other"}),
]


def state(scene: Scene, thread: Channel) -> tuple[object, ...]:
    """What a command could change."""
    row, known = scene.harness.row(str(thread.id)), scene.pool.thread(str(thread.id))
    return row.session_id, row.state, row.agent, None if known is None else dict(known.chosen)


@pytest.mark.parametrize(("command", "options"), CHANGES)
async def test_somebody_else_who_may_use_the_bot_changes_nothing_in_a_thread(scene: Scene, command, options):
    scene.harness.offer_agents("demo", "other")
    thread = await scene.opens("say first; stall 60")
    await scene.says(thread, "first")
    before = state(scene, thread)
    assert before[1] == "busy"
    answer = await answer_to(scene, command, thread, scene.bob, **options)
    assert answer == f"Only {scene.ada.mention} or an admin can do this here."
    assert state(scene, thread) == before
    assert scene.text(thread) == "first"


async def test_everybody_who_may_use_the_bot_may_look(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    for command in ("model", "mode", "agent", "status", "help", "sessions"):
        assert "Only" not in await answer_to(scene, command, thread, scene.bob)


async def test_who_asked_for_the_running_turn_may_cancel_it_and_only_while_it_runs(scene: Scene):
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    scene.bob.says(thread, "say second; stall 60")
    await scene.says(thread, "second")
    assert "Stopping" in await answer_to(scene, "cancel", thread, scene.bob)
    await scene.idle(thread, 2)
    assert "Only" in await answer_to(scene, "reset", thread, scene.bob)
    scene.bob.says(thread, "say third; stall 60")
    await scene.says(thread, "third")
    assert "Stopping" in await answer_to(scene, "cancel", thread), "the owner may cancel what others asked for"


async def test_an_admin_may_control_every_thread(tmp_path):
    async with staged(tmp_path, setup=lambda scene: {"admin_users": (str(scene.bob.id),)}) as scene:
        thread = await scene.opens("say first; stall 60")
        await scene.says(thread, "first")
        assert "Stopping" in await answer_to(scene, "cancel", thread, scene.bob)
        assert "Done" in await answer_to(scene, "reset", thread, scene.bob)


async def test_close_frees_the_place_and_keeps_the_conversation(scene: Scene):
    thread = await scene.opens("remember the blue door")
    await scene.idle(thread, 1)
    assert await answer_to(scene, "close", thread) == "Done. Send a message to carry on where you left off."
    await scene.says(thread, f"{scene.ada.mention} closed this session. Send a message to carry on where you left off.")
    assert "operator" not in scene.text(thread)
    row = scene.harness.row(str(thread.id))
    assert (row.state, row.pid, row.resumable) == ("suspended", None, True)
    again = await answer_to(scene, "close", thread)
    assert again == "No agent is running here. Send a message to carry on where you left off."
    scene.ada.says(thread, "recall")
    await scene.says(thread, "You told me to remember: the blue door")


async def test_close_ends_a_running_turn(scene: Scene):
    thread = await scene.opens("say first; stall 60")
    await scene.says(thread, "first")
    await answer_to(scene, "close", thread)
    await scene.says(thread, "closed this session")
    assert scene.harness.row(str(thread.id)).state == "suspended"


async def test_close_outside_of_a_conversation_says_so(scene: Scene):
    assert "Nothing is running here." in await answer_to(scene, "close", scene.channel)
