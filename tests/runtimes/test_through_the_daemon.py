"""Agents in each place, driven through a daemon and acpctl: a permission, a kill, the daemon's death, the next one."""

from __future__ import annotations

import json
import os
import select
import signal
from pathlib import Path

import pytest

from tests.fakes.daemon import LIMIT
from tests.support.daemons_in_places import acpctl

pytestmark = [pytest.mark.runtimes, pytest.mark.timeout(240)]


def pids_with(word: str) -> list[int]:
    """The living processes of this machine that sleep for so long, whatever their namespace and environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            arguments = Path(entry, "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if arguments[:1] == [b"sleep"] and word.encode() in arguments:
            found.append(int(entry.name))
    return found


def leave_a_double_fork(wire, thread: str, word: str) -> int:
    """Have the agent's tool start a process without environment and parent, in a session of its own; return its pid."""
    wire.turn(thread, f"tool env -i setsid sh -c 'sleep {word} >/dev/null 2>&1 &'; echo started")
    (pid,) = pids_with(word)
    assert b"ACPBOT" not in Path(f"/proc/{pid}/environ").read_bytes()
    return pid


def test_a_tool_runs_once_it_is_permitted_and_not_where_it_is_refused(placed, tmp_path):
    with placed.daemon(tmp_path / "d") as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        workspace = daemon.folder / "state" / "acpbot" / "workspaces" / "demo"
        for kind in ("reject_once", "allow_once"):
            wire.call("chat.send", thread="demo", text=f"tool echo {kind} > {kind}")
            asked = wire.event("permission")
            assert not (workspace / kind).exists(), "it waits for the answer"
            assert "waiting" in acpctl(daemon, "sessions").out
            option = next(one["option_id"] for one in asked["options"] if one["kind"] == kind)
            wire.call("chat.permit", thread="demo", request=asked["request"], option=option)
            assert wire.event("turn_end")["stop_reason"] == "end_turn"
        assert not (workspace / "reject_once").exists()
        assert (workspace / "allow_once").read_text() == "allow_once\n"


def test_a_kill_leaves_nothing_and_the_next_message_resumes(placed, tmp_path):
    word = f"6{os.getpid()}1"
    with placed.daemon(tmp_path / "d") as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.turn("demo", "remember the blue door")
        ended = os.pidfd_open(leave_a_double_fork(wire, "demo", word))
        (row,) = json.loads(acpctl(daemon, "sessions", "-o", "json").out)["sessions"]
        assert (row["runtime"], row["alive"]) == (placed.kind, True)
        shown = acpctl(daemon, "show", "demo").out
        assert f"place        {placed.kind}" in shown
        assert f"sleep {word}" in shown
        assert "acpbot.demo.agent" in shown
        assert placed.engine is None or row["session_id"] in row["place"]
        killed = acpctl(daemon, "kill", "demo", "--yes", "--grace", "0.3")
        assert killed.code == 0
        assert "; 0 processes left" in killed.err
        assert select.select([ended], [], [], 0)[0], "gone when it is said, not some time later"
        os.close(ended)
        assert pids_with(word) == []
        assert placed.containers(row["session_id"]) == ""
        assert acpctl(daemon, "sessions", "-q").out == ""
        assert "the blue door" in wire.turn("demo", "recall")["text"]


def test_agents_end_with_a_killed_daemon_and_the_next_daemon_resumes_the_thread(placed, tmp_path):
    word = f"6{os.getpid()}2"
    with placed.daemon(tmp_path / "d") as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.turn("demo", "remember the blue door")
        ended = os.pidfd_open(leave_a_double_fork(wire, "demo", word))
        daemon.stop(signal.SIGKILL)
    if placed.engine is not None:
        assert select.select([ended], [], [], LIMIT)[0], "a container ends without another daemon"
    with placed.daemon(tmp_path / "d") as daemon, daemon.wire() as wire:
        assert select.select([ended], [], [], 0)[0], "a daemon that is ready has ended what was left"
        os.close(ended)
        wire.call("chat.open", thread="demo")
        assert "the blue door" in wire.turn("demo", "recall")["text"]
        assert acpctl(daemon, "kill", "demo", "--yes").code == 0
