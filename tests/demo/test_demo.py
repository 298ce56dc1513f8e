"""`acpbot demo` as a new user runs it."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from acpbot.demo.demo import choose_socket
from tests.fakes.agents import sdk_agent
from tests.fakes.daemon import LIMIT, DaemonProcess, Wire, marked_processes
from tests.fakes.no_discord import without_discord
from tests.support.coverage_environ import COVERAGE_ENVIRON
from tests.support.terminal import Terminal


@pytest.fixture
def environ(tmp_path):
    """A demo needs no Discord: it is run where discord.py cannot be imported."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "ACPBOT_SOCKET": str(tmp_path / "run" / "acpbot.sock"),
        "PYTHONPATH": without_discord(tmp_path),
        **COVERAGE_ENVIRON,
    }


def demo(environ, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "acpbot", "demo", *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * LIMIT,
        check=False,
        env=environ,
    )


def test_the_tour_shows_everything_in_order_and_leaves_nothing(environ, tmp_path):
    result = demo(environ)
    assert result.returncode == 0, result.stdout
    wanted = [
        r"\[end_turn: \d+ characters in \d\d pieces",
        r"Run this command\? date -u",
        r"tool: completed",
        r"\$ acpctl sessions\nTHREAD +STATE +IDLE .*ACTIVITY.*CWD",
        r"demo +busy .*sleep 60 .*/workspaces/demo",
        r"\$ acpctl health\nready",
        r"\$ acpctl kill demo --yes\nTHREAD +OUTCOME +REACHED +ENDED +LEFT +SECONDS\ndemo +ended +\w+ +2 +0 ",
        r"0 processes left",
        r"carry on where you left off",
        r"you> say Here I am again.*\nHere I am again",
    ]
    at = 0
    for pattern in wanted:
        match = re.compile(pattern).search(result.stdout, at)
        assert match, f"{pattern!r} does not come after character {at} of:\n{result.stdout}"
        at = match.start()
    folder = re.search(r"are running in (/\S+)\.", result.stdout)
    assert folder is not None
    assert not Path(folder[1]).exists()
    assert list((tmp_path / "run").glob("*.sock")) == []


def test_the_commands_for_another_terminal_can_be_typed_as_they_are_shown(environ):
    programs = Path(sys.executable).parent
    environ["PATH"] = ":".join(folder for folder in os.environ["PATH"].split(":") if Path(folder) != programs)
    terminal = Terminal([sys.executable, "-m", "acpbot", "demo"], 200, 30, environ)
    try:
        lines = terminal.wait_for("Ctrl-D leaves").splitlines()
        (command,) = [line.strip() for line in lines if line.endswith(" sessions")]
        assert subprocess.run(["sh", "-c", command], capture_output=True, check=False, env=environ).returncode == 0
        assert any(f"In another terminal in {Path.cwd()}" in line for line in lines), lines
        terminal.type("\x04")
        shown = terminal.wait_for("The demo has ended")
        assert "continues it" not in shown, "the daemon is gone"
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_the_demo_gets_a_socket_of_its_own_where_acpctl_would_reach_another_daemon(tmp_path):
    system, own, last = (str(tmp_path / name) for name in ("system.sock", "own.sock", "last.sock"))
    tried = [system, own, last]
    assert choose_socket(tmp_path / "demo", Path(own), tried) == (Path(own), True)
    assert choose_socket(tmp_path / "demo", Path("/named.sock"), []) == (Path("/named.sock"), False)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(last)
        other.listen()
        assert choose_socket(tmp_path / "demo", Path(own), tried) == (Path(own), True), "acpctl looks there later"
    for taken in (system, own):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(taken)
            assert choose_socket(tmp_path / "demo", Path(own), tried) == (Path(own), True), "nobody listens"
            other.listen()
            chosen = choose_socket(tmp_path / "demo", Path(own), tried)
            assert chosen == (tmp_path / "demo" / "acpbot.sock", False)


def test_another_agent_takes_the_place_of_the_demo_agent(environ):
    result = demo(environ, "--agent", f"{sys.executable} {sdk_agent.__file__}")
    assert "You said: Say hello in one short sentence." in result.stdout
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("agent", "words", "status"),
    [("'unclosed", "cannot use --agent", 78), ("  ", "it is empty", 78), ("/no/such/agent", "cannot start", 1)],
)
def test_an_agent_that_can_not_be_used_is_one_line(environ, agent, words, status):
    result = demo(environ, "--agent", agent)
    assert result.returncode == status
    assert words in result.stdout
    assert "Traceback" not in result.stdout


def test_a_running_daemon_is_left_alone(environ, tmp_path):
    with DaemonProcess(tmp_path) as daemon:
        result = demo({**environ, "ACPBOT_SOCKET": str(daemon.socket)})
        assert result.returncode == 0, result.stdout
        with daemon.wire() as wire:
            assert wire.call("sessions.list")["sessions"] == []


def test_the_daemon_ends_when_the_demo_is_killed(environ, tmp_path):
    front = subprocess.Popen(
        [sys.executable, "-m", "acpbot", "demo", "--agent", "/bin/sleep 60"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environ,
    )
    assert front.stdout is not None
    output = b""
    for line in front.stdout:
        output += line
        if b"you>" in line:
            break
    daemon = os.pidfd_open(int((tmp_path / "run" / "acpbot.lock").read_text()))
    front.send_signal(signal.SIGKILL)
    front.wait(LIMIT)
    assert select.select([daemon], [], [], LIMIT)[0], "the daemon is still running"
    os.close(daemon)
    front.stdout.close()
    # A killed daemon can't clean up.
    folder = re.search(rb"are running in (/\S+)\.", output)
    assert folder is not None
    shutil.rmtree(folder[1])


def test_a_daemon_that_dies_leaves_nothing_of_the_demo(environ, tmp_path):
    front = subprocess.Popen(
        [sys.executable, "-m", "acpbot", "demo"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ,
    )
    assert front.stdout is not None
    lines = []
    for line in front.stdout:
        lines.append(line)
        if line.startswith("you> stream"):
            break
    with Wire(tmp_path / "run" / "acpbot.sock") as wire:
        session = wire.call("sessions.get", thread="demo")["session"]["session_id"]
        daemon = int((tmp_path / "run" / "acpbot.lock").read_text())
        os.kill(daemon, signal.SIGKILL)
    output = front.stdout.read()
    front.stdout.close()
    assert front.wait(LIMIT) == 1
    assert "closed the connection" in output
    assert marked_processes([session]) == []
    folder = re.search(r"are running in (/\S+)\.", "".join(lines))
    assert folder is not None
    assert not Path(folder[1]).exists()
