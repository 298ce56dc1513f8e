"""What acpctl shows of a session that has ended: by the daemon that ran it, and by the next one."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.fakes.daemon import LIMIT, DaemonProcess
from tests.support.acpctl import ACPCTL

pytestmark = pytest.mark.service


def acpctl(daemon: DaemonProcess, *arguments: str) -> str:
    done = subprocess.run(
        [ACPCTL, *arguments], capture_output=True, text=True, timeout=LIMIT, check=False, env=daemon.environ
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_crash_leaves_its_reason_and_the_last_output_also_to_the_next_daemon(tmp_path):
    with DaemonProcess(tmp_path / "d") as daemon:
        with daemon.wire() as chat, daemon.wire() as watcher:
            chat.call("chat.open", thread="other")
            chat.turn("other", "say hello")
            chat.call("chat.open", thread="demo")
            chat.turn("demo", "say I will try")
            watcher.call("sessions.watch")
            chat.turn("demo", "crash 3")
            while watcher.read()["params"]["event"] != "gone":
                continue
            assert watcher.call("sessions.list")["suspended"] == 1
            assert watcher.call("sessions.tail", thread="demo")["lines"]
            assert watcher.call("sessions.get", thread="other")["session"]["last_end"] is None
        daemon.stop(signal.SIGKILL)
    with DaemonProcess(tmp_path / "d") as daemon:
        assert "exited with 3, " in acpctl(daemon, "sessions", "--all")
        shown = acpctl(daemon, "show", "demo")
        assert "last end     exited with 3, " in shown
        rows = json.loads(acpctl(daemon, "sessions", "--all", "-o", "json"))["sessions"]
        row, other = sorted(rows, key=lambda row: str(row["thread_id"]))
        assert (other["last_end"]["reason"], other["last_end"]["exit_code"]) == ("stopped", None)
        assert other["last_end"]["detail"].startswith("acpbot ended without stopping it")
        assert (row["last_end"]["reason"], row["last_end"]["exit_code"]) == ("crashed", 3)
        lines = [line.split("  ", 2)[1:] for line in acpctl(daemon, "tail", "demo", "--no-follow").splitlines()]
        assert lines[:3] == [["prompt", "say I will try"], ["text", "  I will try"], ["end", "   end_turn"]]
        assert lines[3] == ["prompt", "crash 3"]
        assert lines[-1] == ["notice", "This session has ended (crashed, exit code 3)."]
