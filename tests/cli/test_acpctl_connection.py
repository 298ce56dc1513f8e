"""acpctl without a daemon, with another server, and with a daemon that breaks off or answers nonsense."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys

import pytest

from acpctl import __version__, client, socket_paths
from acpctl.chat.chat_client import ChatClient
from acpctl.chat.plain_chat import PlainView
from acpctl.errors import CliError, DaemonError
from acpctl.render.output import Output
from tests.fakes.management import FakeDaemon, Raw, Silence, WireError, row


def check_error(result, code, *parts):
    """Check the exit code, that stderr is one line that begins 'cannot', and that stdout is empty."""
    assert (result.code, result.out) == (code, ""), result
    assert result.err.startswith("cannot ")
    assert result.err.count("\n") == 1
    for part in parts:
        assert part in result.err, result.err


def test_no_file_at_the_named_path_exits_with_6(acpctl, path):
    check_error(
        acpctl("sessions"),
        6,
        f"cannot reach acpbot at {path}: no such file; is it running? start it with `acpbot run`, "
        "or name its socket with --socket or ACPBOT_SOCKET",
    )


def test_a_socket_without_a_listener_exits_with_6(acpctl, path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    check_error(acpctl("sessions"), 6, f"cannot reach acpbot at {path}: nothing listens there; is it running?")


def test_the_list_of_sessions_is_asked_for_without_waiting_for_the_hello(path, acpctl):
    with FakeDaemon(path, row("1"), greeting=b"") as silent:
        assert acpctl("--timeout", "0.2", "sessions").code == 7
        assert silent.asked("sessions.list") == [{}]
        assert acpctl("--timeout", "0.2", "kill", "1", "--yes").code == 7
        assert [method for method, _ in silent.requests] == ["sessions.list"]


def test_the_folder_of_a_socket_is_no_socket(acpctl, path):
    result = acpctl("--socket", str(path.parent), "sessions")
    check_error(result, 6, f"it is a folder; name the socket in it, such as {path}")


def test_a_file_that_is_not_a_socket_exits_with_6(acpctl, path):
    path.write_text("")
    check_error(acpctl("sessions"), 6, "it is not a socket")


def test_a_folder_without_access_exits_with_4():
    failure = socket_paths.unreachable("/run/acpbot/acpbot.sock", PermissionError())
    assert failure.exit_code == 4
    assert failure.message.startswith("cannot reach acpbot at /run/acpbot/acpbot.sock: permission denied; ask for")


@pytest.mark.skipif(os.getuid() == 0, reason="root may enter every folder")
def test_a_real_folder_without_access_exits_with_4(acpctl, tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    monkeypatch.setenv("ACPBOT_SOCKET", str(closed / "acpbot.sock"))
    check_error(acpctl("sessions"), 4, "permission denied")


def test_a_path_that_is_too_long_for_a_socket(acpctl, monkeypatch):
    check_error(acpctl("--socket", "/" + "x" * 107, "sessions"), 2, "--socket", "108 bytes", "107")
    check_error(acpctl("--socket", "", "sessions"), 2, "--socket")
    monkeypatch.setenv("ACPBOT_SOCKET", "/" + "ü" * 54)
    check_error(acpctl("sessions"), 2, "ACPBOT_SOCKET", "109 bytes")


def test_a_path_of_107_bytes_is_allowed(acpctl):
    check_error(acpctl("--socket", "/" + "x" * 106, "sessions"), 6, "no such file")


@pytest.mark.usefixtures("daemon")
def test_the_option_comes_before_the_environment(acpctl, path, monkeypatch):
    monkeypatch.setenv("ACPBOT_SOCKET", "/nowhere")
    assert acpctl("--socket", str(path), "sessions", "-q").code == 0


def test_the_default_paths_are_tried_in_order(acpctl, tmp_path, system_path, monkeypatch):
    monkeypatch.setenv("ACPBOT_SOCKET", "")
    runtime = tmp_path / "run"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    last = tmp_path / f"acpbot-{os.getuid()}" / "acpbot.sock"
    check_error(acpctl("sessions"), 6, f"{system_path}, {runtime}/acpbot/acpbot.sock or {last}: no such file; is it")
    last.parent.mkdir()
    with FakeDaemon(last, row("last-1")):
        assert acpctl("sessions", "-q").out == "last-1\n"
        (runtime / "acpbot").mkdir(parents=True)
        with FakeDaemon(runtime / "acpbot" / "acpbot.sock", row("second-1")):
            assert acpctl("sessions", "-q").out == "second-1\n"
            system_path.parent.mkdir()
            with FakeDaemon(system_path, row("first-1")):
                assert acpctl("sessions", "-q").out == "first-1\n"


as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


@as_root
def test_a_default_folder_of_another_user_is_not_trusted(acpctl, tmp_path, monkeypatch):
    monkeypatch.delenv("ACPBOT_SOCKET")
    place = tmp_path / f"acpbot-{os.getuid()}" / "acpbot.sock"
    place.parent.mkdir()
    with FakeDaemon(place, row("evil-1")):
        os.chown(place.parent, 12345, 12345)
        check_error(acpctl("sessions"), 6, "no such file", f"stays away from {place}: its folder belongs to uid 12345;")
        result = acpctl("doctor")
        assert result.code == 6
        assert "somebody else made it" in result.out


@as_root
def test_a_default_folder_that_is_a_strangers_link_to_a_trusted_folder_is_not_followed(acpctl, tmp_path, monkeypatch):
    """As /tmp/acpbot-0 -> /tmp would be, where the stranger has put a socket too."""
    monkeypatch.delenv("ACPBOT_SOCKET")
    link = tmp_path / f"acpbot-{os.getuid()}"
    link.symlink_to(".")
    with FakeDaemon(tmp_path / "acpbot.sock", row("evil-1")):
        assert acpctl("sessions", "-q").out == "evil-1\n", "a link of one's own is followed"
        os.chown(link, 12345, 12345, follow_symlinks=False)
        check_error(acpctl("sessions"), 6, "no such file", "its folder is a symbolic link of uid 12345;")
        check_error(
            acpctl("--socket", str(link / "acpbot.sock"), "sessions"), 6, "its folder is a symbolic link of uid 12345;"
        )


@as_root
def test_a_link_of_a_stranger_to_a_socket_is_not_followed(acpctl, tmp_path):
    link = tmp_path / "link.sock"
    with FakeDaemon(tmp_path / "acpbot.sock", row("thread-1")):
        link.symlink_to("acpbot.sock")
        assert acpctl("--socket", str(link), "sessions", "-q").out == "thread-1\n"
        os.chown(link, 12345, 12345, follow_symlinks=False)
        check_error(acpctl("--socket", str(link), "sessions"), 6, "it is a symbolic link of uid 12345;")


LISTEN_AS = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
listening.listen()
print(flush=True)
while True:
    connection, _ = listening.accept()
    print(connection.recv(100) == b"", flush=True)
"""


@pytest.fixture
def listen_as():
    """Listen at a path as another user; each line of the process's output says whether a client sent nothing."""
    started = []

    def start(path, uid: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", LISTEN_AS, str(path), str(uid)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in started:
        with process:
            process.kill()


@as_root
def test_a_strangers_socket_is_told_nothing(acpctl, tmp_path, listen_as):
    """Where everybody can write, anybody can put a socket at acpbot's place while acpbot does not run."""
    tmp_path.chmod(0o1777)
    path = tmp_path / "acpbot.sock"
    stranger = listen_as(path, 12345)
    check_error(
        acpctl("--socket", str(path), "kill", "1", "--yes"), 6,
        f"cannot trust what listens at {path}: it is a socket of uid 12345 in a folder of uid 0, ",
    )  # fmt: skip
    assert stranger.stdout.readline() == "True\n"


@as_root
def test_a_socket_in_a_folder_of_its_own_user_is_used(acpctl, tmp_path, listen_as):
    os.chown(tmp_path, 12345, 12345)
    listen_as(tmp_path / "acpbot.sock", 12345)
    (tmp_path / "link").symlink_to("acpbot.sock")
    for name in ("acpbot.sock", "link"):
        check_error(acpctl("--timeout", "0.2", "--socket", str(tmp_path / name), "sessions"), 7, "within 0.2 s")


@pytest.mark.parametrize(
    "greeting",
    [
        b"SSH-2.0-OpenSSH_9.2\n",
        b"\xff\xfe\n",
        b"[]\n",
        b'{"jsonrpc":"2.0","method":"hello","params":{"server":"other","protocol":1}}\n',
        b'{"jsonrpc":"2.0","method":"hello","params":[]}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_listener_that_is_not_acpbot_exits_with_6(path, acpctl, greeting):
    with FakeDaemon(path, greeting=greeting):
        check_error(acpctl("sessions"), 6, "it is not an acpbot")


def test_another_protocol_version_exits_with_6(path, acpctl):
    with FakeDaemon(path, protocol=2, version="9.0.0"):
        check_error(acpctl("sessions"), 6, "acpbot 9.0.0", "protocol 2", f"this acpctl ({__version__}) speaks 1")


def test_too_many_connections_exit_with_1(path, acpctl):
    line = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32008,"message":"cannot serve more than 32 connections"'
    with FakeDaemon(path, greeting=line + b',"data":{"kind":"too_many"}}}\n'):
        check_error(acpctl("sessions"), 1, "cannot serve more than 32 connections")


def test_denied_access_exits_with_4(path, acpctl):
    line = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32004,"message":"no credentials"'
    with FakeDaemon(path, greeting=line + b',"data":{"kind":"access_denied"}}}\n'):
        check_error(acpctl("sessions"), 4, "cannot connect: no credentials")


def test_a_missing_hello_exits_with_7(path, acpctl):
    with FakeDaemon(path, greeting=b""):
        check_error(acpctl("--timeout", "0.05", "sessions"), 7, f"at {path} within 0.05 s (hello)")


def test_half_a_hello_exits_with_7(path, acpctl):
    with FakeDaemon(path, greeting=b'{"jsonrpc":"2.0","method":"hel'):
        check_error(acpctl("--timeout", "0.05", "sessions"), 7, "(hello)")


def test_a_missing_answer_exits_with_7(daemon, acpctl):
    def silent(_params, _client):
        raise Silence

    daemon.on("sessions.list", silent)
    check_error(acpctl("--timeout", "0.1", "sessions"), 7, "within 0.1 s (sessions.list)")


def test_half_an_answer_exits_with_7(daemon, acpctl):
    def half(_params, _client):
        raise Raw(b'{"jsonrpc":"2.0","id":1,"res')

    daemon.on("sessions.list", half)
    check_error(acpctl("--timeout", "0.1", "sessions"), 7, "(sessions.list)")


def test_acpctl_waits_for_a_full_backlog_until_the_timeout(path, acpctl):
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        deaf.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            check_error(acpctl("--timeout", "0.1", "sessions"), 7, "within 0.1 s (connect)")


@pytest.mark.parametrize("sent", [b"", b'{"jsonrpc":"2.0","id":1,"res'])
def test_a_connection_closed_before_the_answer_exits_with_6(daemon, acpctl, sent):
    def gone(_params, _client):
        raise Raw(sent, close=True)

    daemon.on("sessions.list", gone)
    check_error(acpctl("sessions"), 6, "closed the connection")


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[1]",
        b"\xff",
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"sessions":[1]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"sessions":NaN}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"sessions":' + b"9" * 5000 + b"}}",
    ],
)
def test_a_malformed_answer_exits_with_1(daemon, acpctl, line):
    def nonsense(_params, _client):
        raise Raw(line + b"\n")

    daemon.on("sessions.list", nonsense)
    check_error(acpctl("sessions"), 1, "cannot understand acpbot's answer to sessions.list", "of the same version")


@pytest.mark.parametrize(
    ("kind", "number", "code"),
    [
        ("not_found", -32001, 5),
        ("ambiguous", -32002, 5),
        ("conflict", -32003, 5),
        ("access_denied", -32004, 4),
        ("draining", -32005, 1),
        ("timeout", -32006, 7),
        ("line_too_long", -32007, 1),
        ("too_many", -32008, 1),
        ("invalid", -32602, 1),
        ("internal", -32603, 1),
        ("a kind of tomorrow", -32099, 1),
    ],
)
def test_a_daemon_error_exits_alike_in_every_format(daemon, acpctl, kind, number, code):
    def refuse(_params, _client):
        raise WireError(number, kind, "cannot do that\x1b[2J:\nno")

    daemon.on("health.get", refuse)
    assert acpctl("health") == (code, "", "cannot do that: no\n")
    assert acpctl("health", "-o", "json") == (code, "", "cannot do that: no\n")


def test_an_error_without_a_kind_exits_by_its_code(daemon, acpctl):
    def refuse(_params, _client):
        raise Raw(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32004,"message":"no"}}\n')

    daemon.on("health.get", refuse)
    assert acpctl("health") == (4, "", "cannot health.get: no\n")


def test_an_answer_of_many_megabytes_is_read(daemon, acpctl):
    daemon.rows = [row(f"{number:019}", title="x" * 10_000) for number in range(500)]
    result = acpctl("sessions", "-q")
    assert (result.code, result.out.count("\n")) == (0, 500)


def test_an_answer_in_pieces_after_a_notification_is_read(daemon, path):
    def slow(_params, caller):
        caller.notify("sessions.event", {"seq": 1})
        caller.raw(b'{"jsonrpc":"2.0","id"')
        raise Raw(b':1,"result":{"ok":1}}\n{"jsonrpc":"2.0","method":"x","params":{"seq":2}}\n')

    daemon.on("health.get", slow)
    with client.DaemonConnection(str(path), 5) as connection:
        assert connection.call("health.get") == {"ok": 1}
        assert connection.receive(5)[0]["params"] == {"seq": 1}


def test_a_request_that_is_too_long_is_not_sent(daemon, path):
    with client.DaemonConnection(str(path), 5) as connection:
        with pytest.raises(CliError, match="acpbot takes 65,536"):
            connection.send("chat.send", {"text": "x" * 65_536})
        assert connection.call("sessions.list")["max_sessions"] == 32
    assert [name for name, _ in daemon.requests] == ["sessions.list"]


def test_the_last_message_before_a_close_is_read(daemon, path):
    with client.DaemonConnection(str(path), 5) as connection:
        connection.call("sessions.list")
        daemon.clients[0].line(
            {"jsonrpc": "2.0", "id": None, "error": {"code": -32007, "message": "cannot read", "data": {}}}
        )
        daemon.disconnect()
        with pytest.raises(DaemonError, match="cannot read"):
            connection.call("sessions.list")


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


@pytest.mark.usefixtures("daemon")
def test_each_exchange_has_the_whole_time_limit(path):
    clock = Clock()
    with client.DaemonConnection(str(path), 5, clock=clock) as connection:
        assert connection.call("sessions.list")["max_sessions"] == 32
        clock.now = 60.0
        assert connection.call("sessions.list")["max_sessions"] == 32
        clock.now = 120.0
        connection.send("sessions.watch")
        assert "result" in connection.receive(5)[0]


def test_a_farewell_is_sent_however_old_the_last_request_is(daemon, path):
    clock = Clock()
    with client.DaemonConnection(str(path), 5, clock=clock) as connection:
        chat = ChatClient(connection, "local-1", PlainView(Output(color=False, environ={})), timeout=5)
        chat.open(None)
        chat.send_prompt("hello")
        clock.now = 60.0
        chat.leave()
        assert daemon.wait_for("chat.leave") == {"thread": "local-1"}
        connection.close()
        chat.leave()


@pytest.mark.usefixtures("daemon")
def test_acpctl_does_not_change_the_socket_file(acpctl, path):
    before = path.stat()
    acpctl("sessions")
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert path.stat().st_ino == before.st_ino
