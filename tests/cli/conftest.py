"""acpctl against a scripted daemon: in this process where only its words matter, else as the installed program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from acpctl import command_line as root
from tests.fakes.management import FakeDaemon, row
from tests.support.terminal import Tty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACPCTL = Path(sys.executable).with_name("acpctl")


class Ran(NamedTuple):
    """What a run of acpctl gave."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """No socket of this machine, no colours, no home of anybody."""
    for name in ("NO_COLOR", "XDG_RUNTIME_DIR", "COLUMNS", "LINES", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("HOME", "/home/op")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("ACPBOT_SOCKET", str(tmp_path / "acpbot.sock"))


@pytest.fixture
def path(tmp_path) -> Path:
    """Where the daemon's socket is; acpctl finds it by ACPBOT_SOCKET."""
    return tmp_path / "acpbot.sock"


@pytest.fixture
def daemon(path) -> Iterator[FakeDaemon]:
    """A daemon with a busy and an idle session."""
    rows = [
        row("1310203040506071234", "busy", activity="pytest -q", title="Fix the pool", cwd="/home/op/work"),
        row("1310203040506075678", "idle"),
        row("local-abc123", "suspended"),
    ]
    with FakeDaemon(path, *rows) as running:
        yield running


@pytest.fixture
def acpctl(capsys) -> Callable[..., Ran]:
    """Run a command in this process: neither stdin nor stdout is a terminal."""

    def run(*arguments: str) -> Ran:
        code = root.run(list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def program() -> Callable[..., Ran]:
    """Run the installed program to its end."""

    def run(*arguments: str, text: str | None = None, **environment: str) -> Ran:
        done = subprocess.run(
            [ACPCTL, *arguments],
            input=text,
            stdin=None if text is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=20,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def tty() -> Iterator[Callable[..., Tty]]:
    """Run the installed program on a terminal that can be read and typed at."""
    opened: list[Tty] = []

    def run(*arguments: str, columns: int = 100, lines: int = 30, **environment: str) -> Tty:
        opened.append(Tty([str(ACPCTL), *arguments], columns, lines, {**os.environ, **environment}))
        return opened[-1]

    yield run
    for terminal in opened:
        terminal.close()
