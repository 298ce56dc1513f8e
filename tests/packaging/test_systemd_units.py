"""systemd's own tools accept the units, and the units match the daemon's settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from acpbot.config.settings import PoolSettings, ShutdownSettings
from acpbot.errors import ConfigError
from tests.support.packaging.units import FOLDER, Unit

EXPOSURE = 2.5  # of 10, where less is better: systemd-analyze(1)
SYSTEM, USER = FOLDER / "acpbot.service", FOLDER / "user" / "acpbot.service"
DROP_IN = FOLDER / "nested-sandbox.conf"


@pytest.fixture
def analyze(tmp_path):
    """Run systemd-analyze; skip where it is missing or older than the units need."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze; a package named systemd has it")
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = int(re.findall(r"\d+", output)[0])
    if version < 252:
        pytest.skip(f"systemd-analyze is of systemd {version}; the units are for 252 or later")
    (tmp_path / "run").mkdir(mode=0o700)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "LC_ALL": "C",
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [program, "--no-pager", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, env=environ)

    return run


def installed(tmp_path: Path, unit: Path) -> Path:
    """The unit with a program that exists."""
    place = tmp_path / unit.parent.name / "acpbot.service"
    place.parent.mkdir()
    program = Path(sys.executable).with_name("acpbot")
    assert program.exists()
    place.write_text(unit.read_text().replace("/usr/bin/acpbot", str(program)))
    return place


@pytest.mark.parametrize(("unit", "manager"), [(SYSTEM, "--system"), (USER, "--user")])
def test_systemd_analyze_verify_accepts_the_units(analyze, tmp_path, unit, manager):
    done = analyze(manager, "verify", str(installed(tmp_path, unit)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("where", ["acpbot.service", "acpbot.service.d/more.conf"])
def test_systemd_analyze_verify_rejects_a_bad_unit(analyze, tmp_path, where):
    place = installed(tmp_path, SYSTEM)
    file = place.parent / where
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as more:
        more.write("[Service]\nProtectSystem=rather\n")
    assert "Failed to parse protect system value" in analyze("verify", str(place)).stderr


def test_the_security_exposure_is_low(analyze, tmp_path):
    place = installed(tmp_path, SYSTEM)
    done = analyze("security", "--offline=true", str(place))
    found = re.search(r"Overall exposure level for acpbot\.service: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert 0 < float(found[1]) <= EXPOSURE
    rows = json.loads(analyze("security", "--offline=true", "--json=short", str(place)).stdout)
    worst = max(rows, key=lambda row: float(row["exposure"] or 0))
    assert worst["name"] in {"PrivateNetwork=", "RestrictAddressFamilies=~AF_(INET|INET6)"}, "agents use the network"


def test_the_drop_in_for_nested_sandboxes_is_valid(analyze, tmp_path):
    place = installed(tmp_path, SYSTEM)
    folder = place.with_name("acpbot.service.d")
    folder.mkdir()
    shutil.copy(DROP_IN, folder)
    done = analyze("verify", str(place))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", [SYSTEM, USER], ids=["system", "user"])
def test_there_is_time_to_drain_and_to_end_agents(path):
    unit = Unit(path.read_text())
    drain, grace = ShutdownSettings().drain_seconds, PoolSettings(workspace=Path("/")).grace_seconds
    assert unit.seconds("TimeoutStopSec") >= drain + 4 * grace + 10
    assert f"drain_seconds = {drain:g}," in path.read_text()
    assert f"grace_seconds = {grace:g}," in path.read_text()


@pytest.mark.parametrize("path", [SYSTEM, USER], ids=["system", "user"])
def test_the_unit_restarts_only_where_a_restart_can_help(path):
    unit = Unit(path.read_text())
    assert unit.one("Restart") == "on-failure"
    assert unit.one("RestartPreventExitStatus") == str(ConfigError.exit_code)
    assert (unit.one("Type"), unit.one("KillMode"), unit.one("Delegate")) == ("notify", "mixed", "yes")


def test_the_user_and_the_folders_match():
    unit = Unit(SYSTEM.read_text())
    (user,) = re.findall(r'^u (\S+) - ".*" (\S+)$', (FOLDER / "sysusers.d" / "acpbot.conf").read_text(), re.MULTILINE)
    assert user == (unit.one("User"), f"/var/lib/{unit.one('StateDirectory')}")
    assert (unit.one("RuntimeDirectory"), unit.one("RuntimeDirectoryMode")) == ("acpbot", "0750")
    folders = (FOLDER / "tmpfiles.d" / "acpbot.conf").read_text()
    mode = unit.one("ConfigurationDirectoryMode")
    assert f"d /etc/{unit.one('ConfigurationDirectory')} {mode} root {unit.one('Group')} -" in folders


@pytest.mark.parametrize("path", [path for path in FOLDER.rglob("*") if path.is_file()], ids=lambda path: path.name)
def test_each_file_can_be_installed_without_a_change(path):
    assert stat.S_IMODE(path.stat().st_mode) & 0o111 == 0
    text = path.read_text()
    assert text.isascii()
    assert text.endswith("\n")
    assert max(map(len, text.splitlines())) <= 120
