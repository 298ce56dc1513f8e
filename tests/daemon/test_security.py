"""What a real daemon finds of its own security, says in its log and gives to `acpctl doctor`."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.fakes.daemon import DEMO_AGENT, LIMIT, DaemonProcess
from tests.support.acpctl import ACPCTL
from tests.support.configs import TOKEN, USER

if TYPE_CHECKING:
    from pathlib import Path

CARELESS = (
    DEMO_AGENT + 'mode = "auto"\nenv = { MY_KEY = "sk-1" }\n[management.probes]\nbind = "0.0.0.0:0"\nenabled = true'
)


def test_the_log_health_and_doctor_name_the_same_findings(tmp_path: Path):
    with DaemonProcess(tmp_path / "d", CARELESS) as daemon, daemon.wire() as wire:
        findings = {found["name"]: found for found in wire.call("health.get")["security"]}
        assert {"keys_in_env", "probes", "isolation", "containment", "config_file"} <= findings.keys()
        assert "mode" not in findings
        wire.call("chat.open", thread="demo")
        wire.turn("demo", "say a")
        warned = [found for found in wire.call("health.get")["security"] if found["level"] == "warning"]
        assert "agent default runs in mode auto" in next(found["detail"] for found in warned if found["name"] == "mode")
        done = subprocess.run(
            [ACPCTL, "doctor"], env=daemon.environ, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        log = daemon.log.read_text()
        for found in warned:
            assert f"warn  security: {found['name']}  {found['detail']}\n" in done.stdout
            assert found["name"] == "mode" or f"finding={found['name']}" in log
        assert done.returncode == 0, done.stdout
        assert "sk-1" not in log + done.stdout


def test_a_token_file_that_others_can_write_stops_the_start_with_one_line(tmp_path: Path):
    folder = tmp_path / "d"
    folder.mkdir()
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o666)
    config = f'[discord]\nbot_token_file = "token"\nallowed_users = ["{USER}"]\n{DEMO_AGENT}'
    with DaemonProcess(folder, config, ready=False) as daemon:
        assert daemon.process.wait(LIMIT) == 78
        (line,) = daemon.log.read_text().splitlines()
        assert "every user can write it (mode 0666); run chmod go-w" in line
