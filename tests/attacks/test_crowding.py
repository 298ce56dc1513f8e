"""A neighbour who may only read, an agent's tool, and whoever reaches the probes: none of them crowds others out."""

from __future__ import annotations

import grp
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess
from tests.fakes.neighbour import NOBODY, Neighbour

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.daemon import Wire

pytestmark = pytest.mark.attack
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

CONFIG = f"""{DEMO_AGENT}
[management]
socket_group = "{grp.getgrgid(NOBODY).gr_name}"
[management.probes]
enabled = true
bind = "127.0.0.1:0"
"""


@pytest.fixture
def daemon() -> Iterator[DaemonProcess]:
    """A daemon whose socket the group of nobody may use, in a folder that everybody can reach."""
    folder = Path(tempfile.mkdtemp(prefix="acpbot-attack-"))
    folder.chmod(0o755)
    with DaemonProcess(folder / "d", CONFIG) as daemon:
        yield daemon
    shutil.rmtree(folder, ignore_errors=True)


def port_of(daemon: DaemonProcess) -> int:
    found = re.search(r"probes_running address=127\.0\.0\.1:(\d+)", daemon.log.read_text())
    assert found is not None
    return int(found[1])


def busy_session(wire: Wire) -> dict:
    wire.call("chat.open", thread="1")
    wire.call("chat.send", thread="1", text="hang")
    wire.event("turn_start")
    (row,) = wire.call("sessions.list")["sessions"]
    return {"thread_id": "1", "session_id": row["session_id"]}


def check_that_an_admin_can_kill(daemon: DaemonProcess, target: dict) -> None:
    with daemon.wire() as root:
        assert root.hello.get("params", {}).get("access") == "admin", root.hello
        (result,) = root.call("sessions.kill", targets=[target], grace_seconds=0.2)["results"]
        assert (result["outcome"], result["processes_left"]) == ("ended", 0)


HOLD = """
    held, firsts = [], []
    for number in range(int(sys.argv[2])):
        wire = connect(sys.argv[1])
        try:
            wire.sendall(sys.argv[3].encode())
        except OSError:
            pass
        held.append(wire)
    welcome = sum(b'"hello"' in wire.recv(4096) for wire in held)
    said(f"welcome {welcome}")
    time.sleep(60)
"""
SILENT = ""
HALF_A_LINE = '{"jsonrpc"'
STREAM = '{"jsonrpc":"2.0","id":1,"method":"sessions.watch"}\n'
STREAM_AND_LINE = STREAM + HALF_A_LINE


@as_root
@pytest.mark.parametrize("sent", [SILENT, HALF_A_LINE, STREAM, STREAM_AND_LINE])
def test_a_neighbour_who_holds_every_connection_does_not_keep_an_admin_out(daemon: DaemonProcess, sent: str) -> None:
    with daemon.wire() as chat:
        target = busy_session(chat)
        with Neighbour(HOLD, str(daemon.socket), "32", sent) as neighbour:
            assert neighbour.line().startswith("welcome")
            check_that_an_admin_can_kill(daemon, target)


@as_root
def test_many_neighbours_together_do_not_keep_an_admin_out_either(daemon: DaemonProcess) -> None:
    with daemon.wire() as chat, ExitStack() as stack:
        target = busy_session(chat)
        for uid in range(60_001, 60_007):
            neighbour = stack.enter_context(Neighbour(HOLD, str(daemon.socket), "12", STREAM, uid=uid))
            assert neighbour.line().startswith("welcome")
        with ExitStack() as admins:
            for _ in range(7):  # the eighth is the chat
                assert "error" not in admins.enter_context(daemon.wire()).hello
        check_that_an_admin_can_kill(daemon, target)


LAST_LINE = """
    held = []
    for _ in range(9):
        held.append(connect(sys.argv[1]).makefile("rb"))
        assert b'"hello"' in held[-1].readline()
    said(held[0].readline().decode().strip() or "nothing")
    said("and closed" if held[0].readline() == b"" else "and open")
"""


@as_root
def test_a_neighbours_oldest_idle_connection_ends_with_a_reason(daemon: DaemonProcess) -> None:
    with Neighbour(LAST_LINE, str(daemon.socket)) as neighbour:
        line = neighbour.line()
        assert '"kind":"too_many"' in line
        assert "cannot keep this connection: it was idle, and another client needs its place" in line
        assert neighbour.line() == "and closed"


FLOOD = """
    said("begun")
    while True:
        try:
            wire = connect(sys.argv[1])
            wire.close()
        except OSError:
            pass
"""


@as_root
def test_a_neighbour_who_connects_without_end_does_not_delay_an_admin(daemon: DaemonProcess) -> None:
    with daemon.wire() as chat, ExitStack() as stack:
        target = busy_session(chat)
        for _ in range(3):
            assert stack.enter_context(Neighbour(FLOOD, str(daemon.socket))).line() == "begun"
        check_that_an_admin_is_answered_soon(daemon, 2)
        check_that_an_admin_can_kill(daemon, target)
    assert daemon.log.stat().st_size < 50_000


def check_that_an_admin_is_answered_soon(daemon: DaemonProcess, seconds: float) -> None:
    slowest = 0.0
    for _ in range(20):
        began = time.monotonic()
        with daemon.wire() as root:
            assert root.call("health.get")["live"]
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < seconds


ASK = """
    one = b'{"jsonrpc":"2.0","id":1,"method":"sessions.list","params":{"suspended":true}}\\n'
    def read(wire):
        while wire.recv(1 << 20):
            pass
    def ask(wire):
        while True:
            wire.sendall(one * 1000)
    for _ in range(8):
        wire = connect(sys.argv[1])
        wire.settimeout(None)
        for side in (read, ask):
            threading.Thread(target=side, args=[wire], daemon=True).start()
    said("begun")
    time.sleep(60)
"""


@as_root
def test_a_neighbour_who_asks_without_end_does_not_delay_an_admin(daemon: DaemonProcess) -> None:
    with daemon.wire() as chat:
        for number in range(8):
            chat.call("chat.open", thread=f"t-{number}")
        with Neighbour(ASK, str(daemon.socket)) as neighbour:
            assert neighbour.line() == "begun"
            check_that_an_admin_is_answered_soon(daemon, 0.6)
            lag = chat.call("health.get")["loop_lag_ms"]
            assert lag < 200, "the time for which nothing else was done"


FORKS = """
import os, socket, sys, time
open(sys.argv[2], "w").close()
until = time.monotonic() + 8
while time.monotonic() < until:
    if (child := os.fork()) == 0:
        try:
            with socket.socket(socket.AF_UNIX) as wire:
                wire.connect(sys.argv[1])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
"""


def test_a_tool_that_connects_from_ever_new_processes_does_not_delay_an_admin(daemon: DaemonProcess) -> None:
    script, begun = daemon.folder / "forks.py", daemon.folder / "begun"
    script.write_text(FORKS)
    os.mkfifo(begun)
    with daemon.wire() as chat:
        chat.call("chat.open", thread="1")
        chat.call("chat.send", thread="1", text=f"tool {sys.executable} {script} {daemon.socket} {begun}")
        permission = chat.event("permission")
        option = next(one["option_id"] for one in permission["options"] if one["kind"] == "allow_once")
        chat.call("chat.permit", thread="1", request=permission["request"], option=option)
        begun.read_bytes()  # it blocks until the tool has opened the other end
        before = daemon.log.stat().st_size
        check_that_an_admin_is_answered_soon(daemon, 2)
        (row,) = chat.call("sessions.list")["sessions"]
        check_that_an_admin_can_kill(daemon, {"thread_id": "1", "session_id": row["session_id"]})
    assert daemon.log.stat().st_size - before < 30_000


# The probes.


RECONNECTING = """
import socket, sys
held = []
while True:
    while len(held) < 40:
        one = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        one.setblocking(False)
        try:
            one.send(sys.argv[2].encode())
        except OSError:
            continue
        held.append(one)
    for one in tuple(held):
        try:
            if one.recv(1):
                continue
        except BlockingIOError:
            continue
        except OSError:
            pass
        held.remove(one)
        one.close()
"""


@pytest.mark.parametrize("sent", ["", "GET /livez HT", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_sockets_that_reconnect_do_not_fail_the_probes(daemon: DaemonProcess, sent: str) -> None:
    port = port_of(daemon)
    command = [sys.executable, "-c", RECONNECTING, str(port), sent]
    crowd = [subprocess.Popen(command) for _ in range(3)]
    failed = 0
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline and failed < 12:  # until the crowd is there
            failed += not answers(port)
        failed = sum(not answers(port) for _ in range(12))
    finally:
        for one in crowd:
            one.kill()
            one.wait()
    assert failed == 0, f"{failed} of 12 probes failed"


def answers(port: int) -> bool:
    """Whether /livez answers as a kubelet asks: within a second."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


# The audit.


def audited(daemon: DaemonProcess) -> list[tuple[str, str]]:
    database = daemon.folder / "state" / "acpbot" / "acpbot.sqlite3"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = list(connection.execute("SELECT method, outcome FROM audit ORDER BY sequence"))
    connection.close()
    return rows


REFUSED_CONNECTS = """
import socket, sys
for _ in range(10_500):
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(sys.argv[1])
        try:
            wire.recv(4096)
        except OSError:
            pass
open(sys.argv[2], "w").close()
"""
REFUSED_REQUESTS = """
    wire = connect(sys.argv[1])
    lines = wire.makefile("rb")
    lines.readline()
    for number in range(10_500 // 100):
        one = {"jsonrpc": "2.0", "id": number, "method": "sessions.cancel", "params": {"thread": f"{number}"}}
        wire.sendall((json.dumps(one) + "\\n").encode() * 100)
        for _ in range(100):
            assert b"access_denied" in lines.readline()
    said("done")
"""


def test_refused_connections_push_nothing_out_of_the_audit(daemon: DaemonProcess) -> None:
    with daemon.wire() as chat:
        check_that_an_admin_can_kill(daemon, busy_session(chat))
        chat.event("turn_end")
        before = daemon.log.stat().st_size
        script = daemon.folder / "connects.py"
        script.write_text(REFUSED_CONNECTS)
        end = chat.turn("1", f"tool {sys.executable} {script} {daemon.socket} {daemon.folder / 'done'}")
        assert (daemon.folder / "done").exists(), end
    grown = daemon.log.stat().st_size - before
    assert daemon.stop() == 0
    rows = audited(daemon)
    assert ("sessions.kill", "ended") in rows, f"{len(rows)} rows, and not the kill"
    assert rows.count(("connect", "denied")) < 10
    assert grown < 20_000


@as_root
def test_refused_requests_push_nothing_out_of_the_audit(daemon: DaemonProcess) -> None:
    with daemon.wire() as chat:
        check_that_an_admin_can_kill(daemon, busy_session(chat))
    before = daemon.log.stat().st_size
    with Neighbour(REFUSED_REQUESTS, str(daemon.socket)) as neighbour:
        assert neighbour.line() == "done"
    grown = daemon.log.stat().st_size - before
    assert daemon.stop() == 0
    rows = audited(daemon)
    assert ("sessions.kill", "ended") in rows, f"{len(rows)} rows, and not the kill"
    assert rows.count(("sessions.cancel", "denied")) < 10
    assert grown < 20_000
