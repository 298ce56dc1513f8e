"""The daemon as its users see it: a process, a socket, signals."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from acpbot.chat.conversation import INTERRUPTED
from tests.fakes.daemon import DEMO_AGENT, LIMIT, DaemonProcess, marked_processes
from tests.support.pool_restarts import rows

pytestmark = pytest.mark.service


@pytest.fixture
def daemon(tmp_path):
    with DaemonProcess(tmp_path / "d") as daemon:
        yield daemon


def run(daemon, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acpbot", *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, check=False, env=daemon.environ, cwd=daemon.folder
    )


def test_a_conversation_has_a_row(daemon):
    with daemon.wire() as wire:
        hello = wire.hello["params"]
        assert (hello["server"], hello["protocol"], hello["access"], hello["state"]) == (
            "acpbot",
            1,
            "admin",
            "running",
        )
        assert wire.call("sessions.list") == {"sessions": [], "max_sessions": 10, "suspended": 0}
        opened = wire.call("chat.open", thread="demo")
        assert opened["session"]["thread_id"] == "demo"
        end = wire.turn("demo", "say hello; tool")
        assert end["stop_reason"] == "end_turn"
        assert end["text"].startswith("hello")
        (row,) = wire.call("sessions.list")["sessions"]
        assert (row["state"], row["turns"], row["platform"], row["alive"]) == ("idle", 1, "local", True)
        assert row["cwd"].endswith("/workspaces/demo")
        health = wire.call("health.get")
        assert (health["ready"], health["live"], health["pool"]["idle"]) == (True, True, 1)


def test_a_kill_is_announced_in_the_thread_and_the_next_message_resumes(daemon):
    with daemon.wire() as chat, daemon.wire() as admin:
        chat.call("chat.open", thread="demo")
        chat.turn("demo", "remember the blue door")
        chat.call("chat.send", thread="demo", text="hang")
        chat.event("turn_start")
        (row,) = admin.call("sessions.list")["sessions"]
        assert row["state"] == "busy"
        target = {"thread_id": "demo", "session_id": row["session_id"]}
        (result,) = admin.call("sessions.kill", targets=[target], grace_seconds=0.3)["results"]
        assert (result["outcome"], result["processes_left"]) == ("ended", 0)
        assert marked_processes([row["session_id"]]) == []
        chat.event("turn_end")
        notice = chat.event("notice")["text"]
        assert notice == "An admin stopped this session. Send a message to carry on where you left off."
        assert "the blue door" in chat.turn("demo", "recall")["text"]


def test_only_the_owner_may_use_the_socket_and_its_folder(daemon):
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o700


def test_no_tcp_port_is_open_by_default(tmp_path):
    """The daemon itself records what it binds: nobody else of its user may look at its descriptors."""
    for name, probes, expected in (
        ("off", "", 0),
        ("on", '[management.probes]\nenabled = true\nbind = "127.0.0.1:0"\n', 1),
    ):
        bound = tmp_path / f"{name}.bound"
        bound.touch()
        config = DEMO_AGENT + probes
        with DaemonProcess(tmp_path / name, config, module="tests.support.tcp_recording_daemon", BOUND=str(bound)):
            assert len(bound.read_text().splitlines()) == expected


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_and_its_agents(tmp_path, signum):
    with DaemonProcess(tmp_path / "d", DEMO_AGENT + "[shutdown]\ndrain_seconds = 0\n") as daemon:
        with daemon.wire() as wire:
            wire.call("chat.open", thread="demo")
            wire.call("chat.send", thread="demo", text="tool echo up && exec sleep 60")
            asked = wire.event("permission")
            wire.call("chat.permit", thread="demo", request=asked["request"], option=asked["options"][0]["option_id"])
            session = wire.call("sessions.get", thread="demo")["session"]["session_id"]
            assert daemon.stop(signum) == 0
        daemon.wait_for(b"STOPPING=1")
        assert not daemon.socket.exists()
        assert marked_processes([session]) == []
        assert "Traceback" not in daemon.log.read_text()


def test_a_second_signal_ends_agents_at_once(tmp_path):
    with DaemonProcess(tmp_path / "d", DEMO_AGENT + "[pool]\ngrace_seconds = 300\n") as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.call("chat.send", thread="demo", text="ignore; hang")
        wire.event("turn_start")
        session = wire.call("sessions.get", thread="demo")["session"]["session_id"]
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for(b"STOPPING=1")
        assert daemon.stop() in {0, 1}
        assert marked_processes([session]) == []


def test_after_a_sigkill_the_next_start_ends_orphaned_processes(daemon, tmp_path):
    with daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.turn("demo", "orphan 300")
        wire.call("chat.send", thread="demo", text="ignore; hang")
        wire.event("turn_start")
        session = wire.call("sessions.get", thread="demo")["session"]["session_id"]
        daemon.stop(signal.SIGKILL)
    assert marked_processes([session])
    with DaemonProcess(tmp_path / "other"):
        assert marked_processes([session]) == []


def test_opening_a_thread_reports_the_answer_that_a_sigkill_interrupted(tmp_path):
    with DaemonProcess(tmp_path / "d") as first, first.wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.call("chat.send", thread="demo", text="hang")
        wire.event("turn_start")
        first.stop(signal.SIGKILL)
    with DaemonProcess(tmp_path / "d") as second, second.wire() as wire:
        wire.call("chat.open", thread="demo")
        assert wire.event("notice")["text"].startswith(INTERRUPTED)


def test_a_second_daemon_does_not_start(daemon):
    second = run(daemon, "run", "--config", str(daemon.config))
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1].endswith(
        f"cannot start: acpbot (pid {daemon.process.pid}) already serves {daemon.socket}"
    )
    with daemon.wire() as wire:
        assert wire.call("health.get")["live"]


def test_a_stale_socket_is_replaced(daemon, tmp_path):
    daemon.stop(signal.SIGKILL)
    assert daemon.socket.exists()
    with DaemonProcess(tmp_path / "d2", ACPBOT_SOCKET=str(daemon.socket)) as second:
        second.socket = daemon.socket
        with second.wire() as wire:
            assert wire.call("sessions.list")["sessions"] == []


@pytest.mark.parametrize(
    ("config", "words", "status"),
    [
        (None, "no such file", 78),
        ("x = [", "line 1", 78),
        (DEMO_AGENT + "[pool]\nmax_session = 3\n", "did you mean max_sessions?", 78),
        (DEMO_AGENT + '[pool]\nmax_sessions = "three"\n', "max_sessions", 78),
        (DEMO_AGENT + '[log]\nlevel = "${NO_SUCH_VARIABLE}"\n', "NO_SUCH_VARIABLE", 78),
        (DEMO_AGENT + f'[management]\nsocket = "/{"x" * 120}"\n', "107", 78),
    ],
)
def test_a_bad_configuration_gives_one_line_and_exit_code_78(tmp_path, config, words, status):
    path = tmp_path / "config.toml"
    if config is not None:
        path.write_text(config)
    for command in ("run", "check"):
        result = subprocess.run(
            [sys.executable, "-m", "acpbot", command, "--config", str(path)],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)},
        )
        assert result.returncode == status, result.stderr
        assert result.stderr.startswith("cannot ")
        assert words in result.stderr.lower() or words in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_folder_that_others_can_write_is_refused(tmp_path):
    folder = tmp_path / "d" / "run"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with DaemonProcess(tmp_path / "d", ready=False) as daemon:
        assert daemon.process.wait(LIMIT) == 1
        (line,) = [line for line in daemon.log.read_text().splitlines() if "cannot" in line]
        assert str(folder) in line


def test_check_prints_the_settings_and_starts_each_agent(daemon):
    good = run(daemon, "check", "--config", str(daemon.config))
    assert good.returncode == 0, good.stderr
    assert "max_sessions = 10" in good.stdout
    assert "agent default: ok" in good.stdout
    assert "containment: " in good.stdout
    daemon.config.write_text('[agent]\ncommand = "/bin/sh"\nargs = ["-c", "echo no luck >&2; exit 3"]\n')
    bad = run(daemon, "check", "--config", str(daemon.config))
    assert bad.returncode == 1
    assert "ended (exit code 3) before it answered; it wrote: no luck" in bad.stdout + bad.stderr


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=LIMIT) as answer:  # noqa: S310 - our own loopback server
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_enabled_probes_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = DEMO_AGENT + f'[pool]\nmax_sessions = 1\n[management.probes]\nenabled = true\nbind = "127.0.0.1:{port}"\n'
    with DaemonProcess(tmp_path / "d", config) as daemon, daemon.wire() as wire:
        base = f"http://127.0.0.1:{port}"
        assert fetch(f"{base}/livez") == (200, "ok")
        assert fetch(f"{base}/readyz")[0] == 200
        assert '"status"' in fetch(f"{base}/healthz")[1]
        assert fetch(f"{base}/sessions")[0] == 404
        wire.call("chat.open", thread="demo")
        wire.call("chat.send", thread="demo", text="hang")
        wire.event("turn_start")
        status, text = fetch(f"{base}/readyz")
        assert status == 503
        assert "[-]pool failed: reason withheld" in text
        assert fetch(f"{base}/livez")[0] == fetch(f"{base}/healthz")[0] == 200


@pytest.mark.parametrize("way", ["", "setsid env -i "])
def test_tools_of_an_agent_may_not_manage_its_daemon(daemon, way):
    knock = daemon.folder / "knock.py"
    knock.write_text(
        "import socket, sys\n"
        "with socket.socket(socket.AF_UNIX) as wire:\n"
        f"    wire.connect({str(daemon.socket)!r})\n"
        "    print(wire.makefile().readline())\n"
    )
    with daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.call("chat.send", thread="demo", text=f"tool {way}{sys.executable} {knock}")
        asked = wire.event("permission")
        option = next(o["option_id"] for o in asked["options"] if o["kind"] == "allow_once")
        wire.call("chat.permit", thread="demo", request=asked["request"], option=option)
        said = wire.event("turn_end")["text"]
    assert "cannot serve you: an agent's tools may not manage acpbot" in said
    assert "access_denied" in said
    assert "hello" not in said
    assert "outcome=denied" in daemon.log.read_text()


def test_a_full_disk_is_reported_and_the_daemon_goes_on(daemon):
    """A file size limit has the effect of a full disk: writes of SQLite fail, and all else goes on."""
    database = daemon.folder / "state" / "acpbot" / "acpbot.sqlite3"
    with daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        assert wire.turn("demo", "say one")["text"] == "one"
        size = max(file.stat().st_size for file in database.parent.glob("acpbot.sqlite3*") if file.suffix != ".lock")
        before = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        assert wire.turn("demo", f"say {'x' * 30_000}")["text"] == "x" * 30_000
        health = wire.call("health.get")
        (check,) = [check for check in health["checks"] if check["name"] == "store"]
        assert (check["ok"], health["ready"]) == (False, True)
        assert check["reason"].startswith("the database can't be written (")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, before)
        assert wire.turn("demo", "say three")["text"] == "three"
    assert daemon.stop() == 0
    (thread,) = rows(database, "threads")
    assert thread["turns"] == 3
    assert rows(database, "turns") == []
    assert "store_failed" in daemon.log.read_text()


@pytest.mark.parametrize("what", ["damaged", "newer"])
def test_an_unusable_database_fails_the_start_and_is_not_changed(daemon, what):
    assert daemon.stop() == 0
    database = daemon.folder / "state" / "acpbot" / "acpbot.sqlite3"
    if what == "damaged":
        database.write_bytes(b"not a database at all" * 1000)
    else:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA user_version = 99")
    before = database.read_bytes()
    result = run(daemon, "run", "--config", str(daemon.config))
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if "cannot" in line]
    assert line.startswith(f"cannot start: the database {database} ")
    assert "Traceback" not in result.stderr
    assert database.read_bytes() == before


def test_two_daemons_never_share_a_database(daemon):
    result = run(daemon, "run", "--config", str(daemon.config), "--socket", str(daemon.folder / "other" / "s"))
    assert result.returncode == 1
    database = daemon.folder / "state" / "acpbot" / "acpbot.sqlite3"
    words = f"cannot start: acpbot (pid {daemon.process.pid}) already uses the database {database}"
    assert words in result.stderr.splitlines()
