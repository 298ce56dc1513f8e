"""`acpbot exec` for an agent in a container: its image, with the HOME for logins."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.container_engine import IMAGE

pytestmark = pytest.mark.runtimes


def test_a_command_runs_in_the_container_and_its_status_is_passed_on(podman, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(
        f'[agent]\ncommand = "codex-acp"\nruntime = "container"\n[agent.container]\nengine = "podman"\n'
        f'image = "{IMAGE}"\nnetwork = "none"\n'
        f'[store]\npath = "{tmp_path}/state/db"\n[pool]\nworkspace = "{tmp_path}/workspaces"\n'
    )
    config.chmod(0o600)
    script = f'echo "$HOME ${{SECRET-none}}"; cat; ls {config}; exit 7'
    argv = [sys.executable, "-m", "acpbot", "exec", "--config", str(config), "default", "--", "sh", "-c", script]
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SECRET": "s", **podman.environ}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environ, input="in\n")
    assert done.stdout.splitlines() == [f"{tmp_path}/state/logins/default none", "in"], done.stderr
    assert "No such file or directory" in done.stderr
    assert done.returncode == 7
