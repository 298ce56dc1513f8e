"""A directory service that hangs, and open files that run out: the daemon is managed, says so, and ends."""

from __future__ import annotations

import grp
import os
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess, Wire
from tests.fakes.neighbour import NOBODY, Neighbour

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.attack
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

GROUP = f'[management]\nsocket_group = "{grp.getgrgid(NOBODY).gr_name}"\n'
PROBES = '[management.probes]\nenabled = true\nbind = "127.0.0.1:0"\n'


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody can reach."""
    path = Path(tempfile.mkdtemp(prefix="acpbot-attack-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def check_named(wire: Wire, name: str) -> dict:
    return next((check for check in wire.call("health.get")["checks"] if check["name"] == name), {"ok": None})


CONNECT_SEVEN = """
    held = [connect(sys.argv[1]) for _ in range(7)]
    lines = [wire.makefile("rb") for wire in held]
    said("connected")
    for one in lines:
        said(one.readline().decode().strip())
    held[0].sendall(b'{"jsonrpc":"2.0","id":1,"method":"sessions.cancel","params":{"thread":"1"}}\\n')
    said(lines[0].readline().decode().strip())
    time.sleep(60)
"""


@as_root
def test_a_directory_service_that_hangs_holds_up_nothing_else(folder: Path) -> None:
    config = f"{DEMO_AGENT}{GROUP}admin_users = ['somebody', '@somebodies']\n"
    with DaemonProcess(folder / "d", config, module="tests.fakes.hung_directory") as daemon:
        (folder / "d" / "hang").touch()
        with Neighbour(CONNECT_SEVEN, str(daemon.socket)) as neighbour, daemon.wire() as root:
            assert neighbour.line() == "connected"
            root.call("chat.open", thread="1")
            root.call("chat.send", thread="1", text="hang")
            root.event("turn_start")
            (row,) = root.call("sessions.list")["sessions"]
            target = {"thread_id": "1", "session_id": row["session_id"]}
            with daemon.wire() as other:
                began = time.monotonic()
                (result,) = other.call("sessions.kill", targets=[target], grace_seconds=0.2)["results"]
                assert (result["outcome"], result["processes_left"]) == ("ended", 0)
                assert time.monotonic() - began < 5
            hellos = [neighbour.line() for _ in range(7)]
            assert all('"access":"read"' in line for line in hellos), hellos
            assert "could not be looked up" in neighbour.line()
            check = check_named(root, "users")
            assert check["ok"] is False
            assert "a lookup of a user has not returned" in check["reason"]
            assert daemon.stop() == 0
        assert "user_lookup_failed" in daemon.log.read_text()


@as_root
def test_a_second_signal_ends_a_daemon_whatever_hangs(folder: Path) -> None:
    home = folder / "d"
    home.mkdir()
    (home / "hang").touch()
    config = f"{DEMO_AGENT}{GROUP}"
    with DaemonProcess(home, config, module="tests.fakes.hung_directory", ready=False) as daemon:
        while "socket_group" not in daemon.config.read_text() or not _waits(daemon.process.pid):
            time.sleep(0.01)
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.stop(signal.SIGINT) == -signal.SIGALRM  # another one: two of the same kind may arrive as one


def _waits(pid: int) -> bool:
    """Whether a thread of the daemon has begun to look the group up."""
    names = [(task / "comm").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return len(names) > 1


# Open files.


def limit_to_spare(daemon: DaemonProcess, spare: int) -> None:
    """Leave the daemon so many descriptors, counted from the highest that it uses."""
    highest = max(int(entry.name) for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir())
    limit = highest + 1 + spare
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (limit, limit))


def test_an_admin_is_served_when_descriptors_run_out_and_health_says_so(folder: Path) -> None:
    with DaemonProcess(folder / "d", DEMO_AGENT) as daemon, ExitStack() as stack:
        with daemon.wire() as before:
            assert check_named(before, "descriptors")["ok"] is True
            limit_to_spare(daemon, 5)
            quiet = daemon.log.stat().st_size
            crowd = []
            for _ in range(100):
                one = stack.enter_context(socket.socket(socket.AF_UNIX))
                one.settimeout(5)
                one.connect(str(daemon.socket))
                crowd.append(one)
            firsts = [one.recv(4096) for one in crowd]
            assert all(firsts), "each has an answer: hello or an error"
            assert sum(b'"hello"' in line for line in firsts) <= 32
            for one in crowd[:2]:  # admins who leave
                one.close()
            check = check_named(before, "descriptors")
            assert check["ok"] is False
            assert "open files are in use" in check["reason"]
            time.sleep(2)  # the time in which a log grows
            assert daemon.log.stat().st_size - quiet < 5_000
        with daemon.wire() as root:
            assert check_named(root, "descriptors")["ok"] is False
        assert daemon.process.poll() is None


@as_root
def test_a_neighbour_uses_no_descriptor_that_an_admin_needs(folder: Path) -> None:
    with DaemonProcess(folder / "d", f"{DEMO_AGENT}{GROUP}{PROBES}") as daemon:
        found = re.search(r"probes_running address=(\S+)", daemon.log.read_text())
        assert found is not None
        limit_to_spare(daemon, 3)
        hold = """
            held = [connect(sys.argv[1]) for _ in range(30)]
            said(str(sum(bool(wire.recv(4096)) for wire in held)))
            time.sleep(60)
        """
        with Neighbour(hold, str(daemon.socket)) as neighbour:
            assert neighbour.line() == "30", "each has an answer"
            with daemon.wire() as root:
                assert root.hello["params"]["access"] == "admin"
                assert check_named(root, "descriptors")["ok"] is False
            with urllib.request.urlopen(f"http://{found[1]}/livez", timeout=1) as answer:
                assert answer.status == 200


def test_the_daemon_has_more_open_files_than_its_agents(folder: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        daemon = DaemonProcess(folder / "d", DEMO_AGENT)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    with daemon, daemon.wire() as wire:
        assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)[0] == min(before[1], 65_536)
        wire.call("chat.open", thread="1")
        (folder / "d" / "limits.py").write_text(
            f"open({str(folder / 'said')!r}, 'w').write(str(__import__('resource').getrlimit(7)))"
        )
        wire.turn("1", f"tool {sys.executable} {folder / 'd' / 'limits.py'}")
        assert (folder / "said").read_text() == str((256, before[1]))
