"""`acpbot` itself: its help, usage errors, standard streams, and `acpbot config`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acpbot.config import loader
from tests.support.configs import TOKEN, USER

ACPBOT = str(Path(sys.executable).with_name("acpbot"))


def run(tmp_path, *words: str, redirect: str = "") -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f'"$0" "$@" {redirect}', ACPBOT, *words]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "80"}
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path
    )


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["help"]])
def test_help_names_every_command_and_cuts_nothing(tmp_path, words):
    done = run(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "..." not in done.stdout.replace("[ARGS]...", "")
    for command in ("init", "run", "check", "config", "exec", "demo", "install-service"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("command", ["init", "run", "check", "config", "exec", "demo", "install-service"])
def test_each_command_has_help_with_an_example(tmp_path, command):
    done = run(tmp_path, "help", command)
    assert done.returncode == 0
    assert f"Examples:\n    {'sudo ' if command == 'install-service' else ''}acpbot {command}" in done.stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["config", "pool"],
            "cannot run `acpbot config`: got unexpected extra argument(s) (pool); see `acpbot config --help`\n",
        ),
        (["start"], "cannot run `acpbot`: there is no command 'start'; use `acpbot run`; see `acpbot --help`\n"),
        (["chek"], "cannot run `acpbot`: there is no command 'chek'; did you mean `check`?; see `acpbot --help`\n"),
        (["run", "--x"], "cannot run `acpbot run`: no such option: --x; see `acpbot run --help`\n"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_2(tmp_path, words, line):
    done = run(tmp_path, *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.mark.parametrize("words", ["--help", "--version", "config --example", "check --config c.toml"])
@pytest.mark.parametrize(
    ("redirect", "problem"), [(">&-", "stdout is closed"), (">/dev/full", "No space left on device")]
)
def test_a_stdout_that_takes_nothing_is_one_line_and_exit_1(tmp_path, words, redirect, problem):
    (tmp_path / "c.toml").write_text('[agent]\ncommand = "true"\n')
    done = run(tmp_path, *words.split(), redirect=redirect)
    assert (done.returncode, done.stderr) == (1, f"cannot write the answer: {problem}\n")


@pytest.mark.parametrize("redirect", ["<&-", "2>&-", "2>/dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["init", "demo --agent /no/such/agent", "run --stop-at-eof --config c.toml"])
def test_closed_streams_cause_no_traceback(tmp_path, words, redirect):
    (tmp_path / "c.toml").write_text(f'[agent]\ncommand = "true"\n[store]\npath = "{tmp_path}/s.sqlite3"\n')
    done = run(tmp_path, *words.split(), redirect=redirect)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stdout + done.stderr


def test_the_example_can_be_printed_and_is_valid(tmp_path):
    done = run(tmp_path, "config", "--example")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == Path("config.toml.example").read_text()
    environ = {"HOME": str(tmp_path), "DISCORD_BOT_TOKEN": TOKEN}
    assert loader.parse(done.stdout, "example", environ).discord is not None


def test_the_settings_in_force_are_printed_without_secrets(tmp_path):
    text = f'[discord]\nbot_token = "{TOKEN}"\nallowed_users = ["{USER}"]\n[agent]\ncommand = "true"\n'
    (tmp_path / "c.toml").write_text(text)
    done = run(tmp_path, "config", "--config", "c.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert 'policy = "ask"' in done.stdout
    assert TOKEN not in done.stdout
