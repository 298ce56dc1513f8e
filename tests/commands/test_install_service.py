"""`acpbot install-service`, used by a person at a terminal and by a script."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from acpbot.commands.install_service import out_of_reach
from tests.support.coverage_environ import COVERAGE_ENVIRON
from tests.support.packaging.units import Unit
from tests.support.terminal import Terminal

ACPBOT = Path(sys.executable).with_name("acpbot")
WRITE, REPLACE = "Write these files? [y/N]", "Replace {}? [y/N]"
LIMIT = 20
SHARED = {
    "man/man1/acpctl.1",
    "man/man1/acpbot.1",
    "man/man5/config.toml.5",
    "bash-completion/completions/acpctl",
    "zsh/site-functions/_acpctl",
    "fish/vendor_completions.d/acpctl.fish",
}
FILES = {
    *(f"usr/local/share/{name}" for name in SHARED),
    "etc/systemd/system/acpbot.service",
    "etc/sysusers.d/acpbot.conf",
    "etc/tmpfiles.d/acpbot.conf",
    "etc/acpbot/environment.example",
    "etc/acpbot/config.toml.example",
}


@pytest.fixture
def image(tmp_path):
    """The root of an image, whose path fits on a line of the terminal."""
    return tmp_path / "image"


@pytest.fixture
def environ(tmp_path):
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8", "TERM": "xterm", **COVERAGE_ENVIRON}


@pytest.fixture
def tty(environ):
    """Run it on a terminal."""
    opened: list[Terminal] = []

    def run(*words: str) -> Terminal:
        opened.append(Terminal([str(ACPBOT), "install-service", *words], 200, 250, environ))
        return opened[-1]

    yield run
    for terminal in opened:
        terminal.close()


@pytest.fixture
def program(environ):
    """Run it without a terminal, to its end."""

    def run(*words: str, argv: tuple[str, ...] = (str(ACPBOT),), **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*argv, "install-service", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            env={**environ, **more},
        )

    return run


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def refused(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr.startswith("cannot ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_it_shows_the_files_asks_and_writes_them(tty, image):
    terminal = tty("--root", str(image))
    shown = terminal.wait_for(WRITE)
    assert str(ACPBOT) in shown
    for name in FILES:
        assert f"new      {image / name}" in shown
    assert not image.exists()
    terminal.type("y\n")
    assert terminal.end() == 0
    assert written(image) == FILES
    unit = Unit((image / "etc/systemd/system/acpbot.service").read_text())
    assert unit.one("ExecStart") == f"{ACPBOT} run --config %E/acpbot/config.toml"
    assert all(stat.S_IMODE((image / name).stat().st_mode) == 0o644 for name in FILES)
    shown = terminal.text()
    _, _, commands = shown.partition("Next, in the image:\n")
    assert commands.split("\n")[:2] == [
        "  systemd-sysusers acpbot.conf",
        f"  {ACPBOT} init --config /etc/acpbot/config.toml",
    ]
    assert "systemctl enable --now acpbot.service" in commands


def over(terminal) -> bool:
    """Whether the program ends within a second."""
    try:
        terminal._process.wait(1.0)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.parametrize(("answer", "status"), [("n\n", 1), ("\n", 1), ("yep\n", 1), ("\x04", 1), ("\x03", 130)])
def test_without_a_yes_nothing_is_written(tty, image, answer, status):
    terminal = tty("--root", str(image))
    terminal.wait_for(WRITE)
    terminal.type(answer)
    while answer == "\x03" and not over(terminal):  # a SIGINT right before read(2) is handled after the next key
        terminal.type(answer)
    assert terminal.end() == status
    assert "Nothing was written." in terminal.text()
    assert "Traceback" not in terminal.text()
    assert not image.exists()


def test_without_a_terminal_it_needs_the_option_yes(program, image):
    refused(program("--root", str(image)), 2, "there is no terminal", "--yes")
    assert not image.exists()


def test_yes_writes_and_the_second_time_there_is_nothing_to_write(program, image):
    first = program("--root", str(image), "--yes")
    assert (first.returncode, first.stderr) == (0, "")
    before = {name: (image / name).stat().st_ino for name in FILES}
    (image / "etc/acpbot/config.toml").write_text("")
    second = program("--root", str(image))
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.count("  same     ") == len(FILES)
    assert "acpbot init" not in second.stdout
    assert {name: (image / name).stat().st_ino for name in FILES} == before


@pytest.fixture
def other(image):
    """A unit that somebody wrote."""
    unit = image / "etc/systemd/system/acpbot.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/usr/bin/other\n# \x1b[31mred\n")
    return unit


def test_a_file_that_differs_is_replaced_only_after_its_own_question(tty, image, other):
    before = other.read_text()
    terminal = tty("--root", str(image))
    shown = terminal.wait_for(WRITE)
    assert f"differs  {other}" in shown
    terminal.type("y\n")
    terminal.wait_for(REPLACE.format(other))
    terminal.type("n\n")
    assert terminal.end() == 0
    assert other.read_text() == before
    assert written(image) == FILES
    assert f"written: {other}" not in terminal.text()
    terminal = tty("--root", str(image))
    shown = terminal.wait_for(REPLACE.format(other))
    assert "  -ExecStart=/usr/bin/other" in shown
    assert f"  +ExecStart={ACPBOT} run" in shown
    assert b"\x1b[31m" not in terminal.raw
    assert WRITE not in shown
    terminal.type("y\n")
    assert terminal.end() == 0
    assert f"ExecStart={ACPBOT} run" in other.read_text()


def test_the_option_yes_alone_replaces_no_file_that_differs(program, image, other):
    before = other.read_text()
    done = program("--root", str(image), "--yes")
    refused(done, 1, str(other), "--replace", "drop-in")
    assert "-ExecStart=/usr/bin/other" in done.stdout
    assert written(image) == {str(other.relative_to(image))}
    assert other.read_text() == before
    assert program("--root", str(image), "--yes", "--replace").returncode == 0
    assert f"ExecStart={ACPBOT} run" in other.read_text()
    assert written(image) == FILES


def test_a_masked_unit_is_not_replaced(program, image):
    unit = image / "etc/systemd/system/acpbot.service"
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")
    refused(program("--root", str(image), "--yes", "--replace"), 1, str(unit), "symbolic link to /dev/null", "unmask")
    assert unit.is_symlink()


def test_a_folder_that_is_not_writable_is_reported_before_a_question(program, tmp_path):
    place = tmp_path / "image"
    place.mkdir(mode=0o555)
    argv: tuple[str, ...] = (str(ACPBOT),)
    if os.geteuid() == 0:  # file modes do not stop root
        mount = f'mount -t tmpfs -o ro tmpfs {place} && exec "$@"'
        argv = ("unshare", "--mount", "sh", "-c", mount, "sh", *argv)
        if shutil.which("unshare") is None or subprocess.run([*argv[:5], "sh", "true"], check=False).returncode:
            pytest.skip("root may write everywhere, and can't mount something read-only here")
    refused(program("--root", str(place), argv=argv), 1, f"you can't write in {place}", "--user")


def test_a_file_where_a_folder_must_be_is_an_error_of_one_line(program, image):
    image.write_text("")
    refused(program("--root", str(image), "--yes"), 1, "cannot write", "Not a directory")


def test_a_user_service_is_installed_below_the_home_directory(program, tmp_path, environ):
    done = program("--user", "--yes", PATH=f"{environ['PATH']}:relative:/odd%20one:/with space")
    assert (done.returncode, done.stderr) == (0, "")
    configuration = tmp_path / ".config"
    names = {"systemd/user/acpbot.service", "acpbot/environment.example", "acpbot/config.toml.example"}
    assert written(configuration) == names
    assert written(tmp_path / ".local" / "share") == SHARED
    unit = Unit((configuration / "systemd/user/acpbot.service").read_text())
    assert unit.one("ExecStart") == f"{ACPBOT} run --config %E/acpbot/config.toml"
    (line,) = unit.all("Environment")
    path = line.removeprefix('"PATH=').removesuffix('"').split(":")
    assert set(environ["PATH"].split(":")) <= set(path)
    assert path[-1] == "/with space"
    assert {"relative", "/odd%20one"} & set(path) == set()
    assert "systemctl --user enable --now acpbot.service" in done.stdout
    assert f"acpbot init --config {configuration}/acpbot/config.toml" in done.stdout
    elsewhere = tmp_path / "xdg"
    data = tmp_path / "data"
    assert program("--user", "--yes", XDG_CONFIG_HOME=str(elsewhere), XDG_DATA_HOME=str(data)).returncode == 0
    assert (written(elsewhere), written(data)) == (names, SHARED)


def test_user_and_root_exclude_each_other(program, tmp_path):
    done = program("--user", "--yes", "--root", str(tmp_path))
    assert done.returncode == 2
    assert "--root" in done.stderr


def test_without_a_script_the_unit_starts_python(program, tmp_path, image):
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    places = ":".join(place for place in sys.path if place)
    argv = (str(python), "-m", "acpbot")
    assert program("--root", str(image), "--yes", argv=argv, PYTHONPATH=places).returncode == 0
    unit = Unit((image / "etc/systemd/system/acpbot.service").read_text())
    assert unit.one("ExecStart") == f"{python} -P -m acpbot run --config %E/acpbot/config.toml"


def test_a_system_service_must_be_able_to_read_the_program(tmp_path):
    assert out_of_reach([Path("/bin/sh")]) == ""
    assert out_of_reach([Path("/home/ada/.local/bin/acpbot")]).endswith(
        "is in /home, which it does not see (ProtectHome=)"
    )
    assert "PrivateTmp=" in out_of_reach([Path("/bin/sh"), Path("/tmp/venv/bin/acpbot")])
    assert out_of_reach([Path("/nowhere/bin/acpbot")]) == "/nowhere is not open to other users"
    link = tmp_path / "acpbot"
    link.symlink_to("/home/ada/venv/bin/acpbot")
    assert "/home" in out_of_reach([link]) or "/tmp" in out_of_reach([link])


def test_a_program_that_a_system_service_can_not_read_is_refused(program):
    reason = out_of_reach([ACPBOT, Path(sys.executable), Path(os.__file__)])
    if not reason:
        pytest.skip("this acpbot could be a service of this machine; nothing to refuse")
    done = program("--yes")
    refused(done, 1, reason, "--user")
    assert done.stdout == ""
