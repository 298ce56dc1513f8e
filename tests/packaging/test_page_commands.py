"""The commands of the README and the pages in docs/, typed in a terminal as a reader types them.

Each runs in an empty HOME, with the programs of this environment and a daemon or a Discord of the test's own.
tests/support/page_commands.py says which ones, and why not the others.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess
from tests.fakes.discord.server import DiscordServer
from tests.support.coverage_environ import COVERAGE_ENVIRON
from tests.support.page_commands import ROOT, run_by
from tests.support.short_folder import short_folder
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.daemon import Wire

PROGRAMS: Final = Path(sys.prefix) / "bin"
THREADS: Final = ("1310203040506075678", "1310203040506079012", "1310203040506071234", "demo")
SOCKET: Final = "/run/acpbot/acpbot.sock"
ADDRESS: Final = "127.0.0.1:8090"
CHANNEL: Final = "1417221234567890123"
# What a command shows before the reader leaves it, and the key for that.
LIVE: Final = {
    "acpctl health --watch": ("ready", "\x03"),
    "acpctl tail 5678": ("hello", "\x03"),
    "acpctl tail 5678 9012 --since 10m": ("hello", "\x03"),
    "acpctl events": ("started", "\x03"),
    "acpctl top": ("RSS", "q"),
    "acpctl chat": ("Ctrl-D leaves", "\x04"),
    "acpbot demo": ("Ctrl-D leaves", "\x04"),
    "make demo": ("Ctrl-D leaves", "\x04"),
}
# What it asks, and the answer.
ASKED: Final = {
    r"acpctl (kill|forget) (?!.*--yes)": ("[y/N]", "y\n"),
    r"acpctl permit \d+$": ("[none]", "1\n"),
}


def reader(home: Path, **more: str) -> dict[str, str]:
    """The environment of a reader: an empty HOME, and the programs of the installation first."""
    environ = {"HOME": str(home), "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "LANG": "C.UTF-8", "TERM": "xterm"}
    return {**environ, "ACPBOT_SOCKET": str(home / "run" / "acpbot.sock"), **COVERAGE_ENVIRON, **more}


def clone(folder: Path) -> Path:
    """The repository as after `make demo`: with the installation in .venv."""
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name in {
            "Makefile",
            "README.md",
            "acpbot",
            "cli",
            "packaging",
            "pyproject.toml",
            "config.toml.example",
        }:
            (folder / entry.name).symlink_to(entry)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def missing_program(line: str) -> str | None:
    """The program of a line that the machine lacks."""
    words = [part.split()[0] for part in line.split("|") if part.split()]
    return next((word for word in words if word in {"jq", "socat", "curl", "make"} and not shutil.which(word)), None)


def typed(line: str, folder: Path, environ: dict[str, str]) -> str:
    """Type a command in a terminal, answer what it asks and leave it; what is on the screen at its end."""
    if (program := missing_program(line)) is not None:
        pytest.skip(f"{program} is not installed")
    line = line.removeprefix("sudo ")
    plain = line.removeprefix(".venv/bin/")
    shell = ["/bin/bash", "-c", f"cd '{folder}' && {line}"]
    terminal = Terminal(shell, 200, 60, environ)
    try:
        shown = ""
        for pattern, (question, answer) in ASKED.items():
            if re.match(pattern, plain):
                terminal.wait_for(question)
                terminal.type(answer)
        if plain in LIVE:
            text, key = LIVE[plain]
            shown = terminal.wait_for(text)
            if text == "Ctrl-D leaves":
                terminal.wait_for_line_editor()
            terminal.type(key)
            if plain in run_by("demo"):
                terminal.wait_for("The demo has ended")  # it ends its daemon first
        status = terminal.end()
        shown += terminal.text()
        assert status in ({0, 130} if plain in LIVE else {0}), f"{line}: exit status {status}\n{shown}"
        assert "Traceback" not in shown
        return shown
    finally:
        terminal.close()


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def daemon(port) -> Iterator[DaemonProcess]:
    probes = f'[management.probes]\nenabled = true\nbind = "127.0.0.1:{port}"\n'
    config = f'{DEMO_AGENT}env = {{ ACPBOT_DEMO_PACE = "0" }}\n{probes}'
    with short_folder() as folder, DaemonProcess(folder / "d", config) as started:
        yield started


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """A clone with a change that is not committed, for `git diff`."""
    with short_folder() as folder:
        made = clone(folder / "clone")
        changed = made / "notes.txt"
        changed.write_text("one\n")
        for words in (["init", "--quiet"], ["add", "notes.txt"]):
            subprocess.run(["git", "-C", str(made), *words], check=True, timeout=20, env=reader(folder))
        changed.write_text("two\n")
        yield made


def prepare(wire: Wire, line: str) -> None:
    """Bring the daemon to where a reader would type this: sessions run, a turn waits, one is suspended."""
    wire.call("daemon.drain", on=False)
    wanted = THREADS[:3] if "--expect 3" in line else THREADS
    for row in wire.call("sessions.list")["sessions"]:
        if row["state"] != "idle" or row["thread_id"] not in wanted:
            target = {"thread_id": row["thread_id"], "session_id": row["session_id"]}
            wire.call("sessions.kill", targets=[target], grace_seconds=0)
    for thread in wanted:
        wire.call("chat.open", thread=thread)
        wire.turn(thread, "say hello")
    first = THREADS[0]
    if "grep crashed" in line:
        wire.turn(first, "crash")
    if "acpctl cancel" in line:
        for thread in THREADS[:2]:
            wire.call("chat.send", thread=thread, text="hang")
    if "acpctl permit" in line:
        wire.call("chat.send", thread=first, text="tool date")
        wire.event("permission")
    if "acpctl forget" in line:
        (row,) = [one for one in wire.call("sessions.list")["sessions"] if one["thread_id"] == first]
        wire.call("sessions.suspend", thread=first, session_id=row["session_id"])


@pytest.mark.parametrize("line", [line for line in run_by("daemon") if CHANNEL not in line])
def test_a_command_for_a_running_daemon(line, daemon, checkout, port):
    with daemon.wire() as wire:
        prepare(wire, line)
    here = line.replace(SOCKET, str(daemon.socket)).replace(ADDRESS, f"127.0.0.1:{port}")
    shown = typed(here, checkout, reader(checkout.parent, ACPBOT_SOCKET=str(daemon.socket)))
    assert shown


@pytest.fixture
async def server():
    async with DiscordServer(unit=0.01) as server:
        yield server


def with_discord(server: DiscordServer) -> str:
    """A configuration for the loopback Discord."""
    discord = {
        "bot_token": server.token,
        "allowed_users": ["1"],
        "api_base": server.api_base,
        "gateway_url": server.gateway_url,
    }
    return "\n".join(["[discord]", *(f"{name} = {json.dumps(value)}" for name, value in discord.items()), DEMO_AGENT])


@pytest.mark.parametrize("line", [line for line in run_by("daemon") if CHANNEL in line])
async def test_a_command_for_a_daemon_in_discord(line, server, tmp_path):
    channel = server.make_channel(server.make_guild("home"), "general")
    daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", with_discord(server))
    with daemon:
        await server.wait_until_connected()
        here = line.replace(CHANNEL, str(channel.id))
        await asyncio.to_thread(typed, here, tmp_path, reader(tmp_path, ACPBOT_SOCKET=str(daemon.socket)))
        await server.wait_for_thread(channel)


@pytest.mark.parametrize("line", run_by("demo"))
def test_a_demo(line, tmp_path):
    folder = clone(tmp_path / "clone")
    # It is installed already: make would look whether it is current, and ask a package index.
    environ = reader(tmp_path, MAKEFLAGS="--assume-old=.venv/.installed")
    if "</dev/null" in line:  # the whole tour, longer than anybody waits for a screen
        words = ["/bin/bash", "-c", line]
        done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=50, check=False)
        assert (done.returncode, "That was the tour." in done.stdout) == (0, True), done.stdout + done.stderr
        return
    assert "demo" in typed(line, folder, environ)


@pytest.mark.parametrize("line", run_by("set up"))
async def test_a_command_to_set_up(line, server, tmp_path):
    """Written anew, or with a configuration for the loopback Discord in the two usual places."""
    server.make_channel(server.make_guild("home"), "general")
    folder, written = clone(tmp_path / "clone"), tmp_path / ".config" / "acpbot" / "config.toml"
    environ = reader(tmp_path)
    if line.endswith("acpbot init"):
        await asyncio.to_thread(initialize, line, folder, environ)
        assert written.is_file()
        return
    written.parent.mkdir(parents=True)
    for path in (written, folder / "config.toml"):
        path.write_text(with_discord(server))
        path.chmod(0o600)
    if "acpbot run" in line:
        assert "daemon_running" in await asyncio.to_thread(run_until_ctrl_c, line, folder, environ)
        return
    shown = await asyncio.to_thread(typed, line, folder, environ)
    assert "> " in line or shown


def initialize(line: str, folder: Path, environ: dict[str, str]) -> None:
    terminal = Terminal(["/bin/bash", "-c", f"cd '{folder}' && {line}"], 200, 60, environ)
    try:
        terminal.wait_for("Bot token")
        for question in ("Place (", "Number, or", "Folder (", "Permissions ("):
            if question == "Place (" and not any(map(shutil.which, ("bwrap", "podman", "docker"))):
                continue
            terminal.type("\n")
            terminal.wait_for(question)
        terminal.type("\n")
        assert terminal.end() == 0, terminal.text()
    finally:
        terminal.close()


def run_until_ctrl_c(line: str, folder: Path, environ: dict[str, str]) -> str:
    terminal = Terminal(["/bin/bash", "-c", f"cd '{folder}' && exec {line}"], 200, 60, environ)
    try:
        shown = terminal.wait_for("daemon_running")
        terminal.type("\x03")
        assert terminal.end() in {0, 130}, terminal.text()
        return shown
    finally:
        terminal.close()
