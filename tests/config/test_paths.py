from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from acpbot.config import loader
from acpbot.config.paths import SYSTEM_CONFIG, default_socket, find, state_directory
from acpbot.errors import ConfigError
from tests.support.configs import AGENT, ENVIRON, assert_one_line, parse

# --- files


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[pool]\n\n# \xe9", "it is not UTF-8 (line 3); save it as UTF-8"),
        (b"#" * (1024 * 1024 + 1), "it is larger than 1048576 bytes; check that it is the right file"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes, expected: str):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        loader.load(path, ENVIRON)
    assert str(caught.value) == f"cannot use {path}: {expected}"


def test_a_directory_an_unreadable_and_a_missing_file_are_refused(tmp_path: Path):
    expected = {
        tmp_path: "it is a directory; name a file",
        Path("/proc/self/mem"): "it can't be read (Input/output error); correct its permissions or its path",
        tmp_path / "no.toml": "there is no such file (--config); run `acpbot init`, or write it with `acpbot config",
        Path("no\0.toml"): "there is no such file (--config);",
    }
    for path, words in expected.items():
        with pytest.raises(ConfigError) as caught:
            loader.load(path, ENVIRON, cwd=tmp_path)
        assert words in str(caught.value)
        assert_one_line(str(caught.value))


def test_one_mebibyte_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path):
    path = tmp_path / "config.toml"
    text = "\ufeff" + AGENT.replace("\n", "\r\n")
    path.write_bytes(text.encode() + b"#" * (1024 * 1024 - len(text.encode())))
    assert path.stat().st_size == 1024 * 1024
    assert loader.load(path, ENVIRON).agents["default"].command == "agent"


def test_the_configuration_is_searched_in_this_order(tmp_path: Path):
    home, cwd, xdg, named, explicit = (
        tmp_path / name for name in ("home", "cwd", "xdg", "named.toml", "explicit.toml")
    )
    places = [home / ".config/acpbot/config.toml", xdg / "acpbot/config.toml", cwd / "config.toml", named, explicit]
    cwd.mkdir()
    environ = {"HOME": str(home)}
    with pytest.raises(ConfigError) as caught:
        find(None, environ, cwd)
    assert str(caught.value) == (
        f"cannot find a configuration: there is none at {cwd}/config.toml, {places[0]} and {SYSTEM_CONFIG}; "
        "run `acpbot init`, or write one of them with `acpbot config --example`"
    )
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(AGENT)
    assert find(None, environ, cwd.parent) == places[0]
    environ["XDG_CONFIG_HOME"] = str(xdg)
    assert find(None, environ, cwd.parent) == places[1]
    assert find(None, environ, cwd) == places[2]
    environ["ACPBOT_CONFIG"] = "../named.toml"
    assert find(None, environ, cwd).samefile(named)
    assert find(Path("../explicit.toml"), environ, cwd).samefile(explicit)
    assert loader.load(None, environ, cwd=cwd).source == str(cwd / "../named.toml")
    environ["ACPBOT_CONFIG"] = "/no/such.toml"
    with pytest.raises(ConfigError, match=r"cannot use /no/such.toml: there is no such file \(ACPBOT_CONFIG\);"):
        find(None, environ, cwd)
    environ |= {"ACPBOT_CONFIG": "", "XDG_CONFIG_HOME": "relative"}
    assert find(None, environ, cwd.parent) == places[0]


STRANGER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")


def stranger_refusal(folder: Path) -> str:
    """Why the configuration in the current folder is not used; named, it is."""
    with pytest.raises(ConfigError) as caught:
        loader.load(None, ENVIRON, cwd=folder)
    assert_one_line(str(caught.value))
    assert loader.load(folder / "config.toml", ENVIRON).agents
    assert loader.load(None, {**ENVIRON, "ACPBOT_CONFIG": "config.toml"}, cwd=folder).agents
    return str(caught.value).removeprefix(f"cannot use {folder}/config.toml: ")


@as_root
def test_a_strangers_configuration_in_the_current_folder_is_used_only_where_it_is_named(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(AGENT)
    os.chown(path, STRANGER, 0)
    assert stranger_refusal(tmp_path) == (
        f"it belongs to uid {STRANGER}, and was found only because it is in the current folder; "
        "name it with --config if you trust it"
    )


@as_root
@pytest.mark.parametrize("part", ["link", "file"])
def test_a_link_of_a_stranger_is_refused_and_so_is_a_link_to_a_strangers_file(tmp_path: Path, part: str):
    (tmp_path / "file").write_text(AGENT)
    (tmp_path / "config.toml").symlink_to("file")
    os.chown(tmp_path / {"link": "config.toml", "file": "file"}[part], STRANGER, 0, follow_symlinks=False)
    assert stranger_refusal(tmp_path).startswith(f"it belongs to uid {STRANGER}, ")


@pytest.mark.parametrize(("mode", "allowed"), [(0o602, False), (0o666, False), (0o644, True), (0o664, True)])
def test_a_configuration_in_the_current_folder_that_everybody_can_write_is_refused(
    tmp_path: Path, mode: int, allowed: bool
):
    path = tmp_path / "config.toml"
    path.write_text(AGENT)
    os.chown(path, -1, os.getegid())
    path.chmod(mode)
    if allowed:
        assert loader.load(None, ENVIRON, cwd=tmp_path).agents
    else:
        assert stranger_refusal(tmp_path) == (
            "others can write it, and it was found only because it is in the current folder; "
            "run chmod go-w on it, or name it with --config if you trust it"
        )


@as_root
def test_a_configuration_that_another_group_can_write_is_refused(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(AGENT)
    os.chown(path, -1, STRANGER)
    path.chmod(0o660)
    assert stranger_refusal(tmp_path).startswith("others can write it, ")


@as_root
def test_a_strangers_pipe_in_the_current_folder_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "config.toml")
    os.chown(tmp_path / "config.toml", STRANGER, 0)
    with pytest.raises(ConfigError, match=f"it belongs to uid {STRANGER}"):
        loader.load(None, ENVIRON, cwd=tmp_path)


@as_root
def test_a_file_that_becomes_a_strangers_is_not_read_again(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(AGENT)
    read = loader.reader(None, ENVIRON, cwd=tmp_path)
    assert read().agents
    os.chown(path, STRANGER, 0)
    with pytest.raises(ConfigError, match=f"it belongs to uid {STRANGER}"):
        read()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/acpbot:/other", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/var/lib/acpbot"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/x:y", "HOME": "/h"}, "/x:y/acpbot"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/acpbot"),
    ],
)
def test_the_state_directory_follows_systemd_xdg_and_home(environ: dict[str, str], expected: str):
    assert state_directory(environ) == Path(expected)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user whom the password database does not know")
def test_without_a_home_the_error_names_the_variable_to_set():
    program = (
        "import os; from acpbot.config import loader; from acpbot.errors import ConfigError; os.setuid(4_000_000)\n"
        "text = '[agent]\\ncommand = \"a\"\\n'\n"
        "print(loader.parse(text, 'c', {'STATE_DIRECTORY': '/s'}).store.path)\n"
        "for line in ('', 'working_dir = \"~/x\"'):\n"
        "    try: loader.parse(text + line, 'c', {})\n"
        "    except ConfigError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "/s/acpbot.sqlite3",
        "cannot find a place for the state: neither STATE_DIRECTORY nor HOME is set; set one of them",
        "cannot use c: [agent] working_dir begins with ~, but HOME is not set; set HOME or write an absolute path",
    ]


@as_root
def test_no_command_that_searches_runs_a_strangers_agent(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(f'[agent]\ncommand = "touch"\nargs = ["{tmp_path}/ran"]\n')
    os.chown(path, STRANGER, 0)
    for command in ("check", "run"):
        argv = [sys.executable, "-m", "acpbot", command]
        run = subprocess.run(
            argv, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, stderr=-1, check=False
        )
        assert run.returncode == 78
        assert run.stderr.decode().startswith(f"cannot use {path}: it belongs to uid {STRANGER}, ")
    assert not (tmp_path / "ran").exists()


def test_a_removed_working_directory_is_no_crash(tmp_path: Path):
    program = (
        "import os, pathlib; from acpbot.config import loader; from acpbot.errors import ConfigError\n"
        "os.rmdir(os.getcwd())\n"
        "print(loader.socket_path(None, 's', {}))\n"
        "try: loader.load(pathlib.Path('c.toml'), {})\n"
        "except ConfigError as error: print(error)\n"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    run = subprocess.run([sys.executable, "-c", program], cwd=gone, capture_output=True, text=True, check=True)
    first, second = run.stdout.splitlines()
    assert first == "/s"
    assert second.startswith("cannot use /c.toml: there is no such file (--config);")


# --- the socket


def test_the_socket_path_is_chosen_in_this_order():
    environ = {"ACPBOT_SOCKET": "/env.sock", "HOME": "/home/u"}
    settings = parse(AGENT + '[management]\nsocket = "/set.sock"')
    assert loader.socket_path(settings, "/flag.sock", environ) == Path("/flag.sock")
    assert loader.socket_path(settings, "flag.sock", environ) == Path.cwd() / "flag.sock"
    assert loader.socket_path(settings, None, environ) == Path("/env.sock")
    assert loader.socket_path(settings, None, {"ACPBOT_SOCKET": ""}) == Path("/set.sock")
    assert loader.socket_path(parse(AGENT), None, {}) == default_socket({})
    assert loader.socket_path(None, None, {}) == default_socket({})


def test_the_default_socket_is_in_the_first_usable_directory(tmp_path: Path):
    run, runtime = tmp_path / "run" / "acpbot", tmp_path / "user"
    environ = {"XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(tmp_path)}
    temporary = tmp_path / f"acpbot-{os.getuid()}" / "acpbot.sock"
    assert default_socket(environ, run=run) == temporary  # neither of the two exists
    runtime.mkdir()
    assert default_socket(environ, run=run) == runtime / "acpbot" / "acpbot.sock"
    assert default_socket({"XDG_RUNTIME_DIR": "user", "TMPDIR": str(tmp_path)}, run=run) == temporary
    assert default_socket({}, run=run) == Path(f"/tmp/acpbot-{os.getuid()}/acpbot.sock")
    run.parent.mkdir()
    assert default_socket(environ, run=run) == run / "acpbot.sock"  # it can be created
    run.touch()
    assert default_socket(environ, run=run) == runtime / "acpbot" / "acpbot.sock"  # it is not a folder
    run.unlink()
    run.mkdir()
    assert default_socket(environ, run=run) == run / "acpbot.sock"
    assert not list(run.iterdir())
    assert not list(runtime.iterdir())


def test_a_run_directory_that_is_not_writable_is_skipped(tmp_path: Path):
    # /proc is a folder where not even root may make one
    assert default_socket({"TMPDIR": str(tmp_path)}, run=Path("/proc/acpbot/x")).is_relative_to(tmp_path)
    run = tmp_path / "run"
    run.mkdir(mode=0o500)
    program = (
        "import os, pathlib, sys; from acpbot.config.paths import default_socket\n"
        "os.getuid() == 0 and (os.setgid(65534), os.setuid(65534))\n"
        "print(default_socket({'TMPDIR': '/t'}, run=pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"/t/acpbot-\d+/acpbot\.sock\n", done.stdout)


def test_the_length_of_a_socket_path_is_counted_in_bytes(tmp_path: Path):
    fits = "/" + "é" * 53
    assert loader.socket_path(None, fits, {}) == Path(fits)
    environ = {"TMPDIR": "/" + "t" * 100, "XDG_RUNTIME_DIR": ""}
    for flag, variables, origin in (
        (fits + "x", {}, "--socket"),
        (None, {"ACPBOT_SOCKET": fits + "x"}, "ACPBOT_SOCKET"),
    ):
        with pytest.raises(ConfigError) as caught:
            loader.socket_path(None, flag, variables | environ)
        assert str(caught.value) == (
            f"cannot use {origin}: {fits}x has 108 bytes, and a socket's path may have 107; "
            "choose a shorter one, such as /run/acpbot/acpbot.sock"
        )
    for flag in ("", "/a\0b", str(tmp_path)):
        with pytest.raises(ConfigError, match=r"cannot use --socket: .* can't be a socket; name a file"):
            loader.socket_path(None, flag, {})


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ('[store]\npath = "{w}/acpbot.sqlite3"', r"c: \[store\] path"),
        ('[store]\npath = "{w}/1001/db/acpbot.sqlite3"', r"c: \[store\] path"),
        ('[management]\nsocket = "{w}/s"', r"c: \[management\] socket"),
    ],
)
def test_a_file_of_the_daemon_in_the_folder_of_the_agents_is_refused(
    tmp_path: Path, lines: str, named: str, link: bool
) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "link").symlink_to("w")
    text = lines.format(w=tmp_path / ("link" if link else "w"))
    with pytest.raises(ConfigError, match=rf"^cannot use {named}: .* where agents work, and they could change it"):
        loader.parse(f'[agent]\ncommand = "x"\n[pool]\nworkspace = "{tmp_path}/w"\n{text}', "c", ENVIRON)


@pytest.mark.parametrize("named", ["--socket", "ACPBOT_SOCKET"])
def test_a_socket_in_the_folder_of_the_agents_is_refused_however_it_is_named(tmp_path: Path, named: str) -> None:
    settings = loader.parse(f'[agent]\ncommand = "x"\n[pool]\nworkspace = "{tmp_path}/w"', "c", ENVIRON)
    path = f"{tmp_path}/w/s"
    flag = path if named == "--socket" else None
    with pytest.raises(ConfigError, match=f"^cannot use {named}: .* where agents work"):
        loader.socket_path(settings, flag, ENVIRON if flag else {**ENVIRON, "ACPBOT_SOCKET": path})


def test_an_agent_that_works_above_the_database_is_warned_of(tmp_path: Path) -> None:
    text = f'[agent]\ncommand = "x"\nworking_dir = "{tmp_path}"\n[store]\npath = "{tmp_path}/state/db"'
    assert any("holds acpbot's own database" in warning for warning in loader.parse(text, "c", ENVIRON).warnings)
