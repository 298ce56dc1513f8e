"""/file: a file of the thread's folder, for the one who asks, if they control the thread."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from msgspec import structs

from acpbot.chat.discord.interactions.command_text import NO_SESSION
from acpbot.chat.discord.interactions.file_command import EMPTY
from acpbot.sessions import workspace_files
from tests.chat.discord.interactions.test_commands import answer_to
from tests.support.discord_scene import Scene, staged


async def ready(scene: Scene):
    """A thread whose agent has worked, and its folder."""
    thread = await scene.opens("say first")
    await scene.idle(thread, 1)
    return thread, Path(scene.pool.row(str(thread.id)).cwd)


async def test_a_file_is_shown_to_the_person_alone_also_while_no_agent_runs(scene: Scene):
    thread, folder = await ready(scene)
    (folder / "report.md").write_text("# the report")
    asked = scene.ada.slash("file", {"path": "report.md"}, channel=thread)
    answer = await scene.server.wait_for_answer(asked)
    (message,) = answer.messages
    assert message.ephemeral
    assert answer.answer_text == "`report.md`, 12 bytes. Only you can see it."
    assert [(one.filename, one.data) for one in message.attachments] == [("report.md", b"# the report")]
    await answer_to(scene, "close", thread)
    assert "Only you can see it" in await answer_to(scene, "file", thread, path="report.md")


async def test_a_slow_answer_has_its_file_too(tmp_path):
    async with staged(tmp_path, prompt=0.0) as scene:
        thread, folder = await ready(scene)
        (folder / "report.md").write_text("# the report")
        asked = scene.ada.slash("file", {"path": "report.md"}, channel=thread)
        await scene.server.wait_for(lambda: asked.answer_text)
        assert asked.deferred
        assert [one.data for one in asked.messages[0].attachments] == [b"# the report"]


async def test_only_those_who_control_the_thread_get_a_file_or_see_paths(scene: Scene):
    thread, folder = await ready(scene)
    (folder / "report.md").write_text("# the report")
    assert (await answer_to(scene, "file", thread, scene.bob, path="report.md")).startswith("Only ")
    for who, offered in ((scene.bob, []), (scene.ada, ["report.md"])):
        typing = who.autocompletes("file", "path", "re", channel=thread)
        await scene.server.wait_for(partial(getattr, typing, "answered"))
        assert typing.response is not None
        assert [one["value"] for one in typing.response["choices"]] == offered


async def test_what_is_no_file_of_the_folder_is_a_sentence(scene: Scene):
    assert await answer_to(scene, "file", scene.channel, path="report.md") == NO_SESSION
    thread, folder = await ready(scene)
    (folder / "empty").touch()
    (folder / "link").symlink_to("/etc/passwd")
    wanted = {"empty": EMPTY, "link": workspace_files.LINK, "../x": workspace_files.OUTSIDE}
    for path, sentence in wanted.items():
        assert await answer_to(scene, "file", thread, path=path) == sentence


async def test_where_threads_share_a_folder_its_files_are_shown(tmp_path):
    async with staged(tmp_path, limits={"workspace_mode": "shared"}) as scene:
        thread, folder = await ready(scene)
        (folder / "report.md").write_text("# the report")
        assert "12 bytes" in await answer_to(scene, "file", thread, path="report.md")


async def test_a_thread_whose_files_are_in_a_cluster_reads_so(scene: Scene):
    thread, _ = await ready(scene)
    await answer_to(scene, "close", thread)
    name = scene.pool.row(str(thread.id)).agent
    agent = structs.replace(scene.pool.agents[name], runtime="kubernetes")
    scene.pool.reconfigure(structs.replace(scene.settings, agents={name: agent}))
    assert await answer_to(scene, "file", thread, path="report.md") == workspace_files.ELSEWHERE
    typing = scene.ada.autocompletes("file", "path", "re", channel=thread)
    await scene.server.wait_for(partial(getattr, typing, "answered"))
    assert typing.response is not None
    assert typing.response["choices"] == []
