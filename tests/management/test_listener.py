"""The management socket: made, protected, never taken from a running daemon, removed at the end."""

from __future__ import annotations

import errno
import grp
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from acpbot.errors import ConfigError, StartError
from acpbot.management.listener import Listener, inherited

NOBODY = 65534
LIMIT = 20
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "run" / "acpbot.sock"


@pytest.fixture
def listen():
    """Open a listener; all are closed at the end."""
    opened = []

    def open_one(path: Path, group: str | None = None) -> Listener:
        listener = Listener(path, group)
        listener.open()
        opened.append(listener)
        return listener

    yield open_one
    for listener in opened:
        listener.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def refusal(path: Path, group: str | None = None) -> str:
    """Why it does not open; in one line, that names the way out."""
    with pytest.raises(StartError) as caught:
        Listener(path, group).open()
    text = str(caught.value)
    assert text.startswith("cannot ")
    assert "\n" not in text
    return text


def run_python(code: str, *args: str, **popen) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *args], stdout=subprocess.PIPE, text=True, **popen
    )


def test_only_the_owner_may_use_folder_and_socket(place, listen):
    listener = listen(place)
    assert (mode(place.parent), mode(place)) == (0o700, 0o600)
    assert connects(place)
    assert listener.socket is not None
    assert listener.socket.getblocking() is False
    assert sorted(os.listdir(place.parent)) == ["acpbot.lock", "acpbot.sock"]  # noqa: PTH208 - names are enough
    assert (place.parent / "acpbot.lock").read_text() == f"{os.getpid()}\n"


def test_the_umask_does_not_matter(place, listen):
    before = os.umask(0)
    try:
        listen(place)
    finally:
        os.umask(before)
    assert (mode(place.parent), mode(place)) == (0o700, 0o600)


@as_root
def test_members_of_the_group_may_use_the_socket(place, listen):
    group = grp.getgrgid(NOBODY)
    listen(place, group.gr_name)
    assert (mode(place.parent), mode(place)) == (0o750, 0o660)
    assert place.parent.stat().st_gid == place.lstat().st_gid == NOBODY


def test_an_unknown_group_is_a_config_error(place):
    with pytest.raises(ConfigError, match=r"cannot use \[management\] socket_group: there is no group 'no-such-group'"):
        Listener(place, "no-such-group").open()
    assert not place.parent.exists()


@as_root
@pytest.mark.parametrize("exists", [False, True])
def test_a_group_without_acpbots_user_is_a_config_error(public_path, exists):
    os.chown(public_path, NOBODY, NOBODY)
    if exists:
        (public_path / "run").mkdir(mode=0o755)
        os.chown(public_path / "run", NOBODY, NOBODY)
    code = """
        import os, sys
        from pathlib import Path
        from acpbot.errors import ConfigError
        from acpbot.management.listener import Listener
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        try:
            Listener(Path(sys.argv[1]), sys.argv[2]).open()
        except ConfigError as error:
            print(error)
    """
    child = run_python(code, str(public_path / "run" / "acpbot.sock"), grp.getgrgid(0).gr_name)
    output, _ = child.communicate(timeout=LIMIT)
    assert output.startswith("cannot use [management] socket_group: acpbot's user is not in that group (gid 0)")


def test_an_existing_folder_keeps_its_mode(place, listen):
    place.parent.mkdir(mode=0o755)
    place.parent.chmod(0o755)
    listen(place)
    assert (mode(place.parent), mode(place)) == (0o755, 0o600)


@as_root
@pytest.mark.parametrize(
    ("folder", "is_told"),
    [((0o710, NOBODY), False), ((0o755, 0), False), ((0o701, 0), False), ((0o740, NOBODY), True), ((0o750, 0), True)],
)
def test_the_log_says_where_the_group_cannot_enter_an_existing_folder(place, listen, caplog, folder, is_told):
    mode_before, group = folder
    place.parent.mkdir()
    os.chown(place.parent, 0, group)
    place.parent.chmod(mode_before)
    listen(place, grp.getgrgid(NOBODY).gr_name)
    assert (mode(place.parent), place.parent.stat().st_gid) == (mode_before, group)
    assert (mode(place), place.lstat().st_gid) == (0o660, NOBODY)
    told = [record.fields for record in caplog.records if record.message == "socket_group_has_no_access"]
    hint = f"chgrp it to the socket_group (gid {NOBODY}) and chmod g+x"
    assert told == ([{"folder": str(place.parent), "hint": hint}] if is_told else [])


def test_without_a_group_no_folder_is_warned_of(place, listen, caplog):
    place.parent.mkdir(mode=0o700)
    listen(place)
    assert "socket_group_has_no_access" not in caplog.messages


@pytest.mark.parametrize("unsafe", [0o777, 0o770, 0o720, 0o702])
def test_a_folder_that_others_can_write_is_refused(place, unsafe):
    place.parent.mkdir()
    place.parent.chmod(unsafe)
    assert "others can write it; run chmod go-w" in refusal(place)
    assert list(place.parent.iterdir()) == []


def test_a_sticky_folder_such_as_tmp_is_accepted(place, listen):
    place.parent.mkdir()
    place.parent.chmod(0o1777)
    listen(place)
    assert connects(place)


@as_root
def test_a_folder_of_another_user_is_refused(place):
    place.parent.mkdir(mode=0o700)
    os.chown(place.parent, NOBODY, NOBODY)
    assert f"it belongs to uid {NOBODY}" in refusal(place)


@as_root
def test_a_link_of_another_user_is_refused_and_ones_own_is_followed(place, listen, tmp_path):
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    place.parent.symlink_to(real)
    os.chown(place.parent, NOBODY, NOBODY, follow_symlinks=False)
    assert f"symbolic link of uid {NOBODY}" in refusal(place)
    os.chown(place.parent, 0, 0, follow_symlinks=False)
    listen(place)
    assert (real / "acpbot.sock").is_socket()


def test_a_file_in_place_of_the_folder_is_refused(place):
    place.parent.write_text("")
    assert "it is not a directory" in refusal(place)


def test_a_dangling_link_is_refused(place, tmp_path):
    place.parent.symlink_to(tmp_path / "nowhere")
    assert str(place) in refusal(place)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refusal(tmp_path / "file" / "run" / "acpbot.sock")


@pytest.mark.parametrize("mischief", ["link", "link to nowhere", "hard link", "directory"])
def test_a_lock_that_is_a_link_is_refused_and_not_written(place, tmp_path, mischief):
    place.parent.mkdir(mode=0o700)
    precious = tmp_path / "precious"
    precious.write_text("do not lose")
    lock = place.parent / "acpbot.lock"
    match mischief:
        case "link":
            lock.symlink_to(precious)
        case "link to nowhere":
            lock.symlink_to(tmp_path / "nowhere")
        case "hard link":
            lock.hardlink_to(precious)
        case "directory":
            lock.mkdir()
    refusal(place)
    assert precious.read_text() == "do not lose"
    assert not (tmp_path / "nowhere").exists()
    assert not place.exists()


@as_root
def test_a_lock_of_another_user_is_refused(place):
    place.parent.mkdir()
    place.parent.chmod(0o1777)
    lock = place.parent / "acpbot.lock"
    lock.write_text("")
    os.chown(lock, NOBODY, NOBODY)
    refusal(place)
    assert lock.read_text() == ""


def test_a_second_daemon_learns_which_process_serves(place, listen):
    listen(place)
    assert refusal(place) == f"cannot start: acpbot (pid {os.getpid()}) already serves {place}"
    assert connects(place)


def test_sockets_of_other_names_share_a_folder(place, listen):
    listen(place)
    listen(place.with_name("second.sock"))
    assert (place.parent / "second.lock").exists()


def test_the_socket_of_a_killed_daemon_is_replaced(place, listen):
    code = """
        import sys
        from pathlib import Path
        from acpbot.management.listener import Listener
        listener = Listener(Path(sys.argv[1]))
        listener.open()
        print("open", flush=True)
        sys.stdin.read()
    """
    child = run_python(code, str(place), stdin=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    assert refusal(place) == f"cannot start: acpbot (pid {child.pid}) already serves {place}"
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=LIMIT)
    assert place.is_socket()
    assert not connects(place)
    listen(place)
    assert connects(place)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_another_programs_socket_is_not_taken(place, kind):
    place.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(place))
        if kind == socket.SOCK_STREAM:
            other.listen()
        inode = place.lstat().st_ino
        assert "another program serves it" in refusal(place)
        assert place.lstat().st_ino == inode
    assert sorted(os.listdir(place.parent)) == ["acpbot.lock", "acpbot.sock"]  # noqa: PTH208 - names are enough


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_a_file_that_is_no_socket_is_not_replaced(place, tmp_path, kind):
    place.parent.mkdir(mode=0o700)
    match kind:
        case "file":
            place.write_text("do not lose")
        case "link":
            (tmp_path / "precious").write_text("do not lose")
            place.symlink_to(tmp_path / "precious")
        case "directory":
            place.mkdir()
    inode = place.lstat().st_ino
    with pytest.raises((StartError, ConfigError), match="cannot"):
        Listener(place).open()
    assert place.lstat().st_ino == inode


def test_closing_removes_the_socket_and_frees_the_lock(place, listen):
    listener = listen(place)
    listener.close()
    listener.close()
    assert not place.exists()
    listen(place)


def test_closing_keeps_a_socket_that_another_program_put_there(place, listen):
    listener = listen(place)
    place.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        listener.close()
        assert place.is_socket()


def test_closing_after_the_folder_is_gone_is_no_error(place, listen):
    listener = listen(place)
    place.unlink()
    (place.parent / "acpbot.lock").unlink()
    place.parent.rmdir()
    listener.close()


def long_path(tmp_path: Path, length: int) -> Path:
    fill = length - len(os.fsencode(tmp_path)) - len("/run/.sock")
    assert fill > 0
    return tmp_path / "run" / ("x" * fill + ".sock")


def test_a_path_of_107_bytes_is_accepted(tmp_path, listen):
    path = long_path(tmp_path, 107)
    listen(path)
    assert connects(path)
    assert len(list(path.parent.iterdir())) == 2


def test_a_longer_path_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="has 108 bytes, and a socket's path may have 107"):
        Listener(long_path(tmp_path, 108))
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_becomes_absolute(tmp_path, listen, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert listen(Path("run/acpbot.sock")).path == tmp_path / "run" / "acpbot.sock"


def test_no_descriptor_is_leaked(place):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only how many
    for _ in range(3):
        listener = Listener(place)
        listener.open()
        with pytest.raises(StartError):
            Listener(place).open()
        listener.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - only how many


HANDED = """
    import os, socket, sys
    from acpbot.errors import StartError
    from acpbot.management.listener import inherited
    kind, path, count = sys.argv[1:]
    family = socket.AF_INET if kind == "inet" else socket.AF_UNIX
    handed = socket.socket(family, socket.SOCK_DGRAM if kind == "dgram" else socket.SOCK_STREAM)
    if kind == "file":
        handed = open("/dev/null")
    elif kind == "abstract":
        handed.bind("\\0acpbot-test-%d" % os.getpid())
    elif kind != "inet":
        handed.bind(path)
    if kind in {"stream", "abstract", "inet"}:
        handed.listen()
    if handed.fileno() != 3:
        os.dup2(handed.fileno(), 3)
    else:
        handed = None if kind == "file" else handed.detach()
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count, "LISTEN_FDNAMES": "acpbot.socket", "HOME": "/"}
    try:
        listening = inherited(environ)
    except StartError as error:
        print(error, flush=True)
    else:
        print(None if listening is None else listening.getsockname(), os.get_inheritable(3), flush=True)
        if listening is not None:
            listening.setblocking(True)
            listening.accept()
            print("accepted", flush=True)
    print(environ)
"""


def hand(kind: str, path: Path, count: str = "1") -> subprocess.Popen[str]:
    return run_python(HANDED, kind, str(path), count)


def test_the_socket_from_systemd_is_served(tmp_path):
    path = tmp_path / "systemd.sock"
    child = hand("stream", path)
    assert child.stdout is not None
    assert child.stdout.readline() == f"{path} False\n"
    assert connects(path)
    output, _ = child.communicate(timeout=LIMIT)
    assert output.splitlines() == ["accepted", "{'HOME': '/'}"]
    assert path.is_socket(), "its end is systemd's affair"


@pytest.mark.parametrize(
    ("kind", "count", "words"),
    [
        ("dgram", "1", "not a listening Unix stream socket"),
        ("silent", "1", "not a listening Unix stream socket"),
        ("inet", "1", "not a listening Unix stream socket"),
        ("abstract", "1", "with a path"),
        ("file", "1", "the socket from systemd can't be used"),
        ("stream", "2", "systemd handed over 2 sockets"),
    ],
)
def test_an_unsuitable_socket_from_systemd_is_refused(tmp_path, kind, count, words):
    output, _ = hand(kind, tmp_path / "systemd.sock", count).communicate(timeout=LIMIT)
    refused, environ = output.splitlines()
    assert refused.startswith("cannot start: ")
    assert words in refused
    assert environ == "{'HOME': '/'}"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"},
        {"LISTEN_FDS": "1"},
    ],
)
def test_without_systemd_there_is_no_passed_socket(environ):
    assert inherited(environ) is None
    assert environ == {}


def test_a_daemon_that_binds_does_not_replace_a_socket_of_systemd(place):
    place.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as systemd:
        systemd.bind(str(place))
        systemd.listen(0)
        for _ in range(3):  # even where its backlog is full
            with socket.socket(socket.AF_UNIX) as waiting:
                waiting.setblocking(False)
                assert waiting.connect_ex(str(place)) in {0, errno.EAGAIN}
        assert "another program serves it" in refusal(place)
