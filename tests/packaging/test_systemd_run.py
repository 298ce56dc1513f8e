"""The daemon, started as acpbot.service says, on a machine that may not have systemd."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import stat
import sys
from pathlib import Path

import pytest

from tests.fakes.daemon import marked_processes
from tests.fakes.discord.server import DiscordServer
from tests.support.packaging.machine import Machine, missing
from tests.support.packaging.packaged_daemon import LIMIT, SECRETS, Home, acpctl_at
from tests.support.packaging.units import FOLDER, Channels, Running, Service, Unit

pytestmark = pytest.mark.service

UID = 61184  # the first of those that systemd gives to DynamicUser= (systemd.exec(5))
TEXT = (FOLDER / "acpbot.service").read_text()


@pytest.fixture
async def home():
    async with DiscordServer(unit=0.01, token=SECRETS["acpbot.discord-token"]) as server:
        yield Home(server)


def below(folder: Path, home: Home) -> Service:
    """The service with all its folders below one folder, and a configuration there."""
    program = Path(sys.executable).with_name("acpbot")
    service = Service(Unit(TEXT.replace("/usr/bin/acpbot", str(program))), Channels.below(folder))
    etc = Path(service.places.configuration, "acpbot")
    etc.mkdir(parents=True)
    (etc / "config.toml").write_text(home.configuration(sys.executable, "[log]\nlevel = '${ACPBOT_TEST_LEVEL}'\n"))
    (etc / "environment").write_text("# a level\nACPBOT_TEST_LEVEL=debug\n")
    return service


async def test_the_user_unit_runs_with_its_folders_below_a_directory(home, tmp_path):
    service = below(tmp_path, home)
    with await asyncio.to_thread(Running, service, tmp_path, SECRETS) as running:
        session = (await home.is_served(acpctl_at(running.socket)))["session_id"]
        running.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(running.wait_for, "STOPPING=1")
        assert await asyncio.to_thread(running.process.wait, min(LIMIT, service.unit.seconds("TimeoutStopSec"))) == 0
        assert marked_processes([session]) == []
        assert not running.socket.exists()
        assert (running.state / "workspaces").is_dir()
        log = running.log.read_text()
    assert "Traceback" not in log
    assert home.server.token not in log


async def test_the_system_unit_runs_as_its_own_user_on_a_read_only_file_system(home, tmp_path):
    (tmp_path / "try").mkdir()
    if reason := missing(tmp_path / "try", systemd=False):
        pytest.skip(f"the service can't be run apart: {reason}")
    service = Service(Unit(TEXT.replace("/usr/bin/acpbot", "/opt/acpbot/bin/acpbot")), Channels())
    config = shlex.quote(home.configuration("/opt/acpbot/bin/python"))
    script = f"mkdir /etc/acpbot && printf %s {config} > /etc/acpbot/config.toml\n{service.script(UID, SECRETS)}"
    with await asyncio.to_thread(Machine, tmp_path / "machine", ["sh", "-c", script]) as machine:
        socket = machine.root / "run/acpbot/acpbot.sock"
        session = (await home.is_served(acpctl_at(socket)))["session_id"]
        (pid,) = machine.children()
        assert_confined(pid)
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o750
        os.kill(pid, signal.SIGTERM)
        await asyncio.to_thread(machine.wait_for, "STOPPING=1")
        assert await asyncio.to_thread(machine.process.wait, min(LIMIT, service.unit.seconds("TimeoutStopSec"))) == 0
        assert marked_processes([session]) == []
        log = machine.log.read_text()
    assert "Traceback" not in log
    assert home.server.token not in log


def assert_confined(pid: int) -> None:
    """As under systemd: not root, no capabilities, and only its own folders are writable."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert status["Uid"].split() == [str(UID)] * 4
    assert (int(status["CapBnd"], 16), int(status["CapPrm"], 16), status["NoNewPrivs"]) == (0, 0, "1")
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    read_only = {fields[4] for fields in mounts if "ro" in fields[5].split(",")}
    assert {"/", "/run", "/opt", "/var/lib"} <= read_only
    assert not {"/run/acpbot", "/var/lib/acpbot"} & read_only
