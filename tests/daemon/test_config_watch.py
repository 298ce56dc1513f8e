"""A ConfigMap that changes is read again without a signal."""

from __future__ import annotations

import os

import pytest

from acpbot.daemon.config_watch import ConfigWatch
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess


class Projected:
    """A folder as the kubelet keeps it: the files are links through ``..data``, which is replaced as a whole."""

    def __init__(self, folder, text: str) -> None:
        self.folder = folder
        self.count = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.write(text)
        (folder / "config.toml").symlink_to("..data/config.toml")

    def write(self, text: str) -> None:
        self.count += 1
        version = self.folder / f"..2026_11_29_{self.count}"
        version.mkdir()
        (version / "config.toml").write_text(text)
        (self.folder / "..data_tmp").symlink_to(version.name)
        os.replace(self.folder / "..data_tmp", self.folder / "..data")  # noqa: PTH105 - the link itself


async def test_a_new_version_of_the_folder_is_seen_once(tmp_path):
    projected = Projected(tmp_path / "etc", "one")
    seen: list[str] = []
    watch = ConfigWatch(str(projected.folder / "config.toml"), lambda: seen.append("changed"))
    await watch.look()
    assert seen == []
    projected.write("two")
    await watch.look()
    await watch.look()
    assert seen == ["changed"]
    projected.write("three")
    await watch.look()
    assert seen == ["changed"] * 2


async def test_a_file_that_a_person_edits_is_not_watched(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("one")
    seen: list[str] = []
    watch = ConfigWatch(str(file), lambda: seen.append("changed"))
    file.write_text("two")
    await watch.look()
    assert seen == []


async def test_a_folder_that_is_away_for_a_moment_is_no_change(tmp_path):
    projected = Projected(tmp_path / "etc", "one")
    seen: list[str] = []
    watch = ConfigWatch(str(projected.folder / "config.toml"), lambda: seen.append("changed"))
    target = (projected.folder / "..data").readlink()
    (projected.folder / "..data").unlink()
    await watch.look()
    (projected.folder / "..data").symlink_to(target)
    await watch.look()
    assert seen == []


@pytest.mark.service
def test_the_daemon_takes_over_a_changed_config_map_by_itself(tmp_path):
    projected = Projected(tmp_path / "pod", DEMO_AGENT)
    with DaemonProcess(projected.folder, DEMO_AGENT) as daemon:
        projected.write(DEMO_AGENT + "[pool]\nmax_sessions = 3\n")
        daemon.wait_for(b"RELOADING=1")
        daemon.wait_for(b"READY=1")
        with daemon.wire() as wire:
            assert wire.call("sessions.list")["max_sessions"] == 3
