"""The installed completions of acpctl are current, and each shell on this machine accepts them."""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from acpctl.command_line import COMMANDS
from tests.support.terminal import Terminal

FOLDER = Path(__file__).parents[2] / "packaging" / "completions"
GENERATOR = runpy.run_path(str(FOLDER / "generate.py"))


@pytest.fixture
def environ(tmp_path):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(tmp_path), "TERM": "xterm", "ACPBOT_SOCKET": str(tmp_path / "none"), "PS1": "% "}


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} to ask")
    return found


def test_the_completion_scripts_are_current():
    made = {name: GENERATOR["script"](shell) for name, shell in GENERATOR["FILES"].items()}
    assert {name: (FOLDER / name).read_text() for name in made} == made, "run: make completions"


def test_there_is_one_script_per_shell():
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == {*GENERATOR["FILES"], "generate.py"}


def test_bash_completes(environ):
    file = shlex.quote(str(FOLDER / "acpctl.bash"))
    call = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _acpctl_completion acpctl; echo "${COMPREPLY[@]}"'

    def complete(*words: str) -> tuple[str, list[str]]:
        argv = [shell("bash"), "--norc", "-c", f"source {file}; complete -p acpctl; {call}", "bash", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environ)
        registered, *found = done.stdout.split("\n")
        return registered, " ".join(found).split()

    registered, found = complete("acpctl", "")
    assert "_acpctl_completion" in registered
    assert set(found) == set(COMMANDS)
    assert complete("acpctl", "kill", "--fo")[1] == ["--forget"]


def test_fish_completes(environ):
    file = shlex.quote(str(FOLDER / "acpctl.fish"))
    for words, wanted in (("acpctl ", set(COMMANDS)), ("acpctl kill --fo", {"--forget"})):
        argv = [shell("fish"), "--no-config", "-c", f"source {file}; complete -C {shlex.quote(words)}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environ)
        assert {line.split("\t")[0] for line in done.stdout.splitlines()} == wanted


def test_zsh_completes_with_the_first_key(environ, tmp_path):
    terminal = Terminal([shell("zsh"), "-f"], 100, 30, environ)
    try:
        load = f"fpath=({FOLDER} $fpath); autoload -Uz compinit; compinit -u -d {tmp_path / 'dump'}"
        terminal.type(f"{load}; clear; echo re''ady\n")
        terminal.wait_for("ready")
        terminal.type("acpctl ses\t")
        terminal.wait_for("acpctl sessions")
        terminal.type("--stu\t")
        terminal.wait_for("acpctl sessions --stuck")
    finally:
        terminal.close()
