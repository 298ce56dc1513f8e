"""A file of a thread's folder for a person: never anything outside the folder, and never anything but a file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from acpbot.sessions import workspace_files
from acpbot.sessions.workspace_files import FileNotRead, list_paths, read_file

MIB = 1024 * 1024


class Place:
    """A workspace with the folder of one thread, and a secret outside it."""

    def __init__(self, root: Path) -> None:
        self.workspace = root / "workspaces"
        self.folder = self.workspace / "1234"
        self.outside = root / "outside"
        (self.folder / "docs").mkdir(parents=True)
        self.outside.mkdir()
        (self.folder / "docs" / "report.md").write_text("the report")
        (self.outside / "report.md").write_text("SECRET")

    def read(self, path: str, most: int = MIB) -> str:
        return read_file(self.workspace, self.folder, path, most).decode()

    def refusal(self, path: str, most: int = MIB) -> str:
        with pytest.raises(FileNotRead) as refused:
            read_file(self.workspace, self.folder, path, most)
        return str(refused.value)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_a_file_is_read_by_its_path_from_the_folder_on_or_by_its_whole_path(place: Place):
    for path in ("docs/report.md", "./docs//report.md", " docs/report.md ", f"{place.folder}/docs/report.md"):
        assert place.read(path) == "the report"


@pytest.mark.parametrize(
    "path",
    ["../../outside/report.md", "docs/../../../outside/report.md", "/etc/passwd", "/", "..", "docs/.."],
)
def test_a_path_that_leads_out_of_the_folder_is_refused(place: Place, path: str):
    assert place.refusal(path) == workspace_files.OUTSIDE


def test_the_folder_of_another_thread_whose_name_begins_alike_is_outside(place: Place):
    (place.workspace / "12345").mkdir()
    (place.workspace / "12345" / "a.txt").write_text("SECRET")
    assert place.refusal(f"{place.workspace}/12345/a.txt") == workspace_files.OUTSIDE
    assert place.refusal(f"{place.folder}/../12345/a.txt") == workspace_files.OUTSIDE


def test_no_link_is_followed_wherever_it_is(place: Place):
    (place.folder / "file").symlink_to(place.outside / "report.md")
    (place.folder / "inner").symlink_to(place.folder / "docs" / "report.md")
    (place.folder / "dir").symlink_to(place.outside)
    (place.folder / "docs" / "up").symlink_to("../../../outside")
    (place.folder / "fd").symlink_to("/proc/self/fd")
    (place.folder / "root").symlink_to("/proc/self/root")
    (place.folder / "loop").symlink_to("loop")
    for path in ("file", "inner", "dir/report.md", "docs/up/report.md", "fd/0", "root/etc/passwd", "loop", "loop/a"):
        assert place.refusal(path) == workspace_files.LINK


def test_a_thread_s_folder_that_is_a_link_is_not_entered(place: Place):
    place.folder.rename(place.workspace / "moved")
    place.folder.symlink_to(place.outside)
    assert place.refusal("report.md") == workspace_files.LINK
    with pytest.raises(FileNotRead):
        list_paths(place.workspace, place.folder, "", 25)


def test_links_on_the_way_to_a_folder_that_the_operator_has_named_are_the_operator_s(place: Place, tmp_path):
    named = tmp_path / "project"
    named.symlink_to(place.folder)
    assert read_file(place.workspace, named, "docs/report.md", MIB) == b"the report"
    linked = tmp_path / "linked"
    linked.symlink_to(place.workspace)
    assert read_file(linked, linked / "1234", "docs/report.md", MIB) == b"the report"


SWAPS = """
import os
print("ready", flush=True)
while True:
    os.rename("docs", "aside"); os.rename("link", "docs"); os.rename("docs", "link"); os.rename("aside", "docs")
"""


def test_a_directory_that_is_swapped_for_a_link_all_the_time_never_leads_out(place: Place):
    (place.folder / "link").symlink_to(place.outside)
    found: set[str] = set()
    with subprocess.Popen([sys.executable, "-c", SWAPS], cwd=place.folder, stdout=subprocess.PIPE) as swapping:
        assert swapping.stdout is not None
        swapping.stdout.readline()
        try:
            for _ in range(6000):
                try:
                    found.add(place.read("docs/report.md"))
                except FileNotRead as error:
                    found.add(str(error))
        finally:
            swapping.kill()
    assert found <= {"the report", workspace_files.LINK, workspace_files.NOT_FOUND}
    assert "the report" in found


def test_only_regular_files_are_read_and_none_is_waited_for(place: Place, monkeypatch):
    os.mkfifo(place.folder / "fifo")
    monkeypatch.chdir(place.folder)  # the address of a Unix socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for path in ("fifo", "socket", "docs", "", "."):
            assert place.refusal(path) == workspace_files.NOT_REGULAR
    with pytest.raises(FileNotRead, match="regular file"):
        read_file(place.workspace, Path("/dev"), "null", MIB)


@pytest.mark.parametrize("path", ["none.md", "docs/report.md/more", "a\0b", "a\nb", "x" * 300, "a/" * 3000, "\ud800"])
def test_a_name_that_no_file_has_is_not_found(place: Place, path: str):
    assert place.refusal(path) == workspace_files.NOT_FOUND


def test_a_file_with_an_odd_name_is_read(place: Place):
    (place.folder / "a\nb").write_text("odd")
    assert place.read("a\nb") == "odd"


def test_a_file_is_read_up_to_the_limit_whatever_its_size_is_said_to_be(place: Place):
    (place.folder / "large").write_bytes(b"x" * (MIB + 1))
    assert place.refusal("large") == "That file is too large. I can post up to 1 MiB."
    assert len(place.read("large", MIB * 2)) == MIB + 1
    with pytest.raises(FileNotRead, match="too large"):  # files of /proc say that they are empty
        read_file(place.workspace, Path("/proc"), "version", 3)


def test_without_a_folder_there_is_no_file(place: Place):
    with pytest.raises(FileNotRead):
        read_file(place.workspace, place.workspace / "99", "a", MIB)
    with pytest.raises(FileNotRead, match="no folder yet"):
        read_file(place.outside / "none", place.outside / "none" / "99", "a", MIB)


def test_paths_are_proposed_as_they_are_typed_without_links(place: Place):
    (place.folder / "Docker").write_text("")
    (place.folder / ".env").write_text("")
    (place.folder / "dir").symlink_to(place.outside)
    (place.folder / "dlink").symlink_to(place.folder / "Docker")
    os.mkfifo(place.folder / "dfifo")
    assert list_paths(place.workspace, place.folder, "", 25) == ["Docker", "docs/", ".env"]
    assert list_paths(place.workspace, place.folder, "do", 25) == ["Docker", "docs/"]
    assert list_paths(place.workspace, place.folder, "do", 1) == ["Docker"]
    assert list_paths(place.workspace, place.folder, "docs/", 25) == ["docs/report.md"]
    for typed in ("../", "dir/", "none/"):
        with pytest.raises(FileNotRead):
            list_paths(place.workspace, place.folder, typed, 25)
