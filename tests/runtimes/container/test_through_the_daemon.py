"""Agents in real containers, driven through a real daemon: a turn, a kill, the daemon's death, the next daemon."""

from __future__ import annotations

import json
import os
import select
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

import acpbot
from tests.fakes.daemon import LIMIT, DaemonProcess
from tests.support.container_engine import IMAGE, EngineMissing, podman_engine

pytestmark = pytest.mark.runtimes

PACKAGE = Path(acpbot.__file__).parent
CONFIG = f"""
[agent]
command = "/usr/bin/python3"
args = ["-m", "acpbot.demo.agent"]
runtime = "container"
env = {{ PYTHONPATH = "/opt/own" }}
[agent.container]
engine = "podman"
image = "{IMAGE}"
network = "none"
volumes = [{json.dumps(f"{PACKAGE}:/opt/own/acpbot:ro")}]
"""


@pytest.fixture(scope="module")
def podman():
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(podman_engine())
        except EngineMissing as missing:
            pytest.skip(str(missing))
        yield engine


def pids_with(word: str) -> list[int]:
    """The living processes of this machine that have this word among their arguments, whatever their namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            arguments = Path(entry, "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if arguments[:1] == [b"sleep"] and word.encode() in arguments:
            found.append(int(entry.name))
    return found


def leave_a_double_fork(wire, thread: str, word: str) -> list[int]:
    """Have the agent's tool start a process without environment and parent, in a session of its own."""
    wire.turn(thread, f"tool env -i setsid sh -c 'sleep {word} >/dev/null 2>&1 &'; echo started")
    return pids_with(word)


def test_a_kill_leaves_nothing_of_the_container_and_the_next_message_resumes(podman, tmp_path):
    word = f"6{os.getpid()}1"
    with DaemonProcess(tmp_path / "d", CONFIG, **podman.environ) as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.turn("demo", "remember the blue door")
        assert len(leave_a_double_fork(wire, "demo", word)) == 1
        (row,) = wire.call("sessions.list")["sessions"]
        assert (row["runtime"], row["alive"]) == ("container", True)
        assert row["session_id"] in row["place"]
        target = {"thread_id": "demo", "session_id": row["session_id"]}
        (result,) = wire.call("sessions.kill", targets=[target], grace_seconds=0.3)["results"]
        assert (result["outcome"], result["processes_left"], result["proof"]) == ("ended", 0, "system")
        assert pids_with(word) == []
        assert podman.run("ps", "--all", "--quiet", "--filter", f"label=acpbot.session={row['session_id']}") == ""
        assert "the blue door" in wire.turn("demo", "recall")["text"]


def test_containers_end_with_a_killed_daemon_and_the_next_daemon_resumes_the_thread(podman, tmp_path):
    word = f"6{os.getpid()}2"
    with DaemonProcess(tmp_path / "d", CONFIG, **podman.environ) as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.turn("demo", "remember the blue door")
        (left,) = leave_a_double_fork(wire, "demo", word)
        ended = os.pidfd_open(left)
        daemon.stop(signal.SIGKILL)
    try:
        assert select.select([ended], [], [], LIMIT)[0], "the container goes on without its daemon"
    finally:
        os.close(ended)
    with DaemonProcess(tmp_path / "d", CONFIG, **podman.environ) as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        assert "the blue door" in wire.turn("demo", "recall")["text"]
