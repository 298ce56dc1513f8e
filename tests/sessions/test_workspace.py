"""Where agents work: nothing that somebody else has put there is used, and the settings alone say where."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import msgspec
import pytest

from acpbot.errors import StartError
from acpbot.sessions import workspace
from tests.sessions.test_pool import kill
from tests.support.pool import make_settings
from tests.support.pool_restarts import started

if TYPE_CHECKING:
    from pathlib import Path

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")


def make(root: Path, name: str = "1001") -> None:
    workspace.make_folder(make_settings(root).pool, root / "workspaces" / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workspaces").mkdir(mode=0o700)
    return tmp_path


def test_a_new_folder_is_open_to_its_owner_alone(root: Path) -> None:
    before = os.umask(0)
    try:
        make(root)
    finally:
        os.umask(before)
    assert (root / "workspaces" / "1001").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("target", ["/etc", "nowhere", "folder"])
def test_a_link_in_place_of_the_folder_is_refused(root: Path, target: str) -> None:
    (root / "workspaces" / "folder").mkdir()
    (root / "workspaces" / "1001").symlink_to(target)
    with pytest.raises(StartError, match=r"^cannot make the workspace .*/1001: a link with that name already exists"):
        make(root)
    assert not (root / "workspaces" / "nowhere").exists()


def test_a_file_in_place_of_the_folder_is_refused(root: Path) -> None:
    (root / "workspaces" / "1001").write_text("mine")
    with pytest.raises(StartError, match="a file with that name already exists"):
        make(root)


def test_a_folder_that_others_can_read_is_closed_to_them(root: Path) -> None:
    folder = root / "workspaces" / "1001"
    folder.mkdir()
    folder.chmod(0o775)
    make(root)
    assert folder.stat().st_mode & 0o777 == 0o700


@ROOT_ONLY
def test_a_folder_of_another_user_is_refused(root: Path) -> None:
    folder = root / "workspaces" / "1001"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(StartError, match="it belongs to another user; find out who made it, and move it away"):
        make(root)


@ROOT_ONLY
def test_a_workspace_of_another_user_is_refused(root: Path) -> None:
    os.chown(root / "workspaces", 65534, 65534)
    with pytest.raises(StartError, match="/workspaces: it belongs to another user; name a folder of the daemon's user"):
        make(root)


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o1777, False), (0o2775, False)])
def test_a_workspace_in_which_every_user_can_rename_folders_is_refused(root: Path, mode: int, refused: bool) -> None:
    (root / "workspaces").chmod(mode)
    if refused:
        with pytest.raises(StartError, match="every user can write there"):
            make(root)
    else:
        make(root)
    assert (root / "workspaces" / "1001").exists() != refused


def test_a_workspace_may_be_a_link_of_the_operators(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "workspaces").symlink_to("disk")
    make(tmp_path)
    assert (tmp_path / "disk" / "1001").is_dir()


async def test_an_agent_does_not_start_in_a_folder_that_another_agent_has_planted(tmp_path: Path) -> None:
    async with started(tmp_path) as harness:
        await harness.turn("1001", "say a")
        (tmp_path / "workspaces" / "1002").symlink_to("/etc")
        listener = await harness.turn("1002", "say b")
        assert (listener.text, listener.end.stop_reason) == ("", "error")
        assert "a link with that name already exists" in listener.error
        assert (await harness.turn("1001", "say c")).text == "c"


async def test_a_file_system_that_hangs_delays_nobody_else_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workspaces").mkdir()
    answers = threading.Event()
    make_directory = os.mkdir

    def hang(path: str, *args: int, **kwargs: int) -> None:
        if path == "1002":
            answers.wait(20)
        make_directory(path, *args, **kwargs)

    monkeypatch.setattr(os, "mkdir", hang)
    async with started(tmp_path, start_timeout_seconds=1.0) as harness:
        hanging = harness.send("1002", "say b")
        assert (await harness.turn("1001", "say a")).text == "a"
        await asyncio.wait_for(hanging.over.wait(), 20)
        assert "its file system has not answered for" in hanging.error
        answers.set()
        assert (await harness.turn("1002", "say c")).text == "c"


async def test_a_workspace_that_was_moved_is_where_a_known_thread_works_next(tmp_path: Path) -> None:
    async with started(tmp_path) as first:
        await first.turn("1001", "remember the blue door")
        left = await first.killed()
    (tmp_path / "workspaces").rename(tmp_path / "moved")
    async with started(tmp_path, left, workspace=tmp_path / "moved") as second:
        assert second.row("1001").cwd == str(tmp_path / "moved" / "1001")
        assert (await second.turn("1001", "recall")).text.endswith("the blue door")
        assert not (tmp_path / "workspaces").exists()


async def test_a_changed_working_dir_holds_for_the_next_session_and_not_for_the_running_one(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    async with started(tmp_path) as harness:
        await harness.turn("1001", "say a")
        agent = msgspec.structs.replace(harness.settings.agents["demo"], working_dir=project)
        harness.pool.reconfigure(msgspec.structs.replace(harness.settings, agents={"demo": agent}))
        assert harness.row("1001").cwd == str(tmp_path / "workspaces" / "1001")
        await kill(harness, "1001")
        assert harness.row("1001").cwd == str(project)
        await harness.turn("1001", "say b")
        assert harness.row("1001").cwd == str(project)
