"""acpctl against a scripted daemon: in this process where only its output matters, else as the installed program."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from acpctl import command_line
from tests.fakes.management import FakeDaemon, row
from tests.support.acpctl import ACPCTL, Result
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """No socket of this machine, no colours, a home folder that does not exist."""
    for name in ("NO_COLOR", "XDG_RUNTIME_DIR", "COLUMNS", "LINES", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("HOME", "/home/op")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("ACPBOT_SOCKET", str(tmp_path / "acpbot.sock"))


@pytest.fixture
def path(tmp_path) -> Path:
    """The path of the daemon's socket; acpctl finds it through ACPBOT_SOCKET."""
    return tmp_path / "acpbot.sock"


@pytest.fixture
def daemon(path) -> Iterator[FakeDaemon]:
    """A daemon with a busy, an idle and a suspended session."""
    rows = [
        row("1310203040506071234", "busy", activity="pytest -q", title="Fix the pool", cwd="/home/op/work"),
        row("1310203040506075678", "idle"),
        row("local-abc123", "suspended"),
    ]
    with FakeDaemon(path, *rows) as running:
        yield running


@pytest.fixture
def system_path(tmp_path) -> Path:
    """In place of /run/acpbot/acpbot.sock, where an acpbot of this machine may listen."""
    return tmp_path / "system" / "acpbot.sock"


@pytest.fixture
def acpctl(capsys, system_path) -> Callable[..., Result]:
    """Run a command in this process, without a terminal."""

    def run(*arguments: str) -> Result:
        code = command_line.run(list(arguments), system_path=str(system_path))
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run


@pytest.fixture
def program() -> Callable[..., Result]:
    """Run the installed program to its end."""

    def run(*arguments: str, text: str | None = None, **environment: str) -> Result:
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
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Run the installed program on a terminal that the test reads and types at."""
    opened: list[Terminal] = []

    def run(*arguments: str, columns: int = 100, lines: int = 30, **environment: str) -> Terminal:
        opened.append(Terminal([str(ACPCTL), *arguments], columns, lines, {**os.environ, **environment}))
        return opened[-1]

    yield run
    for one in opened:
        one.close()
