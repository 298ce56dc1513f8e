"""`acpbot exec` for an agent in bubblewrap: the sandbox of its sessions, with the HOME for logins."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.runtimes


def acpbot_exec(folder: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    config = folder / "config.toml"
    config.write_text(
        f'[agent]\ncommand = "codex-acp"\nruntime = "bubblewrap"\n[store]\npath = "{folder}/state/db"\n'
        f'[pool]\nworkspace = "{folder}/workspaces"\n'
    )
    config.chmod(0o600)
    environ = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "SECRET": "s"}
    argv = [sys.executable, "-m", "acpbot", "exec", "--config", str(config), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, env=environ, input=text)


def test_a_command_runs_in_the_sandbox_and_its_status_is_passed_on(tmp_path):
    script = (
        f'echo "$HOME $PWD ${{SECRET-none}}"; cat; ls {tmp_path}/config.toml; ls /proc | grep -c "^[0-9]*$"; exit 7'
    )
    done = acpbot_exec(tmp_path, "default", "--", "sh", "-c", script, text="in\n")
    home = f"{tmp_path}/state/logins/default"
    assert done.stdout.splitlines()[:2] == [f"{home} {home} none", "in"]
    assert "No such file or directory" in done.stderr
    assert done.returncode == 7


def test_a_login_stays_in_the_folder_for_logins(tmp_path):
    done = acpbot_exec(tmp_path, "default", text="mkdir .codex && echo login > .codex/auth.json\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "state/logins/default/.codex/auth.json").read_text() == "login\n"


def test_a_command_that_is_not_there_is_one_line(tmp_path):
    done = acpbot_exec(tmp_path, "default", "--", "no-such-command")
    assert done.returncode == 127
    assert done.stderr.endswith(
        "cannot run no-such-command: it was not found in /usr/bin:/bin; give its full path\n"
    ), done.stderr


def test_a_login_program_that_is_not_there_is_named_with_its_package(tmp_path):
    done = acpbot_exec(tmp_path, "default", "--", "codex", "login")
    assert done.returncode == 127
    assert done.stderr.endswith("; run `npm install -g @openai/codex`, or give its full path\n"), done.stderr
