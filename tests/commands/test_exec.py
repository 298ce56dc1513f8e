"""`acpbot exec`: the command runs as the agent would, and its exit status is ours."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def acpbot_exec(folder: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    config = folder / "config.toml"
    work = folder / "work"
    work.mkdir(exist_ok=True)
    config.write_text(
        f'[agent]\ncommand = "x"\nworking_dir = "{work}"\nenv = {{ OWN = "${{GIVEN}}" }}\n[agents.far]\ncommand = "y"\n'
    )
    config.chmod(0o600)
    environ = {
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        "GIVEN": "given",
        "SECRET": "s",
        "ACPBOT_CONFIG": str(config),
    }
    argv = [sys.executable, "-m", "acpbot", "exec", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, env=environ, input=text)


def test_the_command_has_the_agent_s_environment_and_folder_and_its_status_is_passed_on(tmp_path: Path):
    done = acpbot_exec(
        tmp_path, "default", "--", "sh", "-c", 'echo "$OWN $HOME ${SECRET-none} $PWD"; cat; exit 7', text="in"
    )
    assert done.stdout == f"given {tmp_path} none {tmp_path}/work\nin"
    assert (done.returncode, done.stderr) == (7, "")


def test_without_a_command_a_shell_runs_in_the_agent_s_home(tmp_path: Path):
    done = acpbot_exec(tmp_path, "far", text="pwd; exit 3")
    assert (done.stdout, done.returncode) == (f"{tmp_path}\n", 3)


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (
            ("defalt", "--", "true"),
            126,
            "cannot run a command for agent 'defalt': there is no such agent; did you mean default?",
        ),
        (("zzz", "--", "true"), 126, "the configuration has default, far"),
        (("far", "--", "no-such-command"), 127, "cannot run no-such-command: No such file or directory"),
        (("far", "--", "/"), 126, "cannot run /: Permission denied"),
    ],
)
def test_a_command_that_can_not_run_is_one_line(tmp_path: Path, words: tuple[str, ...], status: int, error: str):
    done = acpbot_exec(tmp_path, *words)
    assert done.returncode == status
    assert error in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_agent_in_pods_is_refused_with_the_way_out(tmp_path: Path):
    config = tmp_path / "config.toml"
    config.write_text('[agent]\ncommand = "x"\nruntime = "kubernetes"\nkubernetes = { image = "x:1" }\n')
    config.chmod(0o600)
    argv = [sys.executable, "-m", "acpbot", "exec", "--config", str(config), "default", "--", "touch", "ran"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path)
    assert done.returncode == 126
    assert "cannot run a command for agent 'default': it runs in pods; sign it in with secrets" in done.stderr
    assert "kubectl exec" in done.stderr
    assert not (tmp_path / "ran").exists()
