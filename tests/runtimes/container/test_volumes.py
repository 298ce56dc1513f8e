"""Volumes that settings name: made with a label, reported once nothing uses or names them, and never removed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from acpbot.runtimes.container.volumes import named
from tests.support.container_engine import IMAGE
from tests.support.daemons_in_places import placed_demo


def test_a_source_without_a_slash_is_the_name_of_a_volume():
    assert named(("cache:/c", "/srv/x:/x", "cache:/d:ro", "./y:/y", "~/z:/z", "more:/m")) == ["cache", "more"]


@pytest.mark.runtimes
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["podman", "docker"])
def test_a_volume_that_no_agent_names_any_more_is_reported_and_kept(name, request, tmp_path):
    engine = request.getfixturevalue(name)
    volume, foreign = (f"acpbot-test-{name}-{os.getpid()}-{number}" for number in (1, 2))
    placed = placed_demo(name, engine)
    engine.run("volume", "create", foreign)
    folder = tmp_path / "d"

    def words_of_the_log(daemon) -> list[str]:
        return [line for line in daemon.log.read_text().splitlines() if "volume_unused" in line]

    try:
        volumes = [f"{volume}:/kept", f"{foreign}:/other"]
        with placed.daemon(folder, volumes=volumes) as daemon, daemon.wire() as wire:
            wire.call("chat.open", thread="demo")
            turn = wire.turn("demo", "tool echo kept > /kept/file")
            assert "completed" in turn["text"], turn
            (row,) = wire.call("sessions.list")["sessions"]
            assert words_of_the_log(daemon) == []
            daemon.stop(signal.SIGKILL)
        while placed.containers(row["session_id"]):  # the dead-man ends it
            continue
        with placed.daemon(folder) as daemon:
            (line,) = words_of_the_log(daemon)
            assert volume in line
        assert engine.run("run", "--rm", "--volume", f"{volume}:/kept", IMAGE, "cat", "/kept/file") == "kept\n"
        assert engine.run("volume", "inspect", foreign)
    finally:
        for one in (volume, foreign):
            with suppress(AssertionError):
                engine.run("volume", "rm", "--force", one)
