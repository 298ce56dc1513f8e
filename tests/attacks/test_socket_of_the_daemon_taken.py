"""An agent's tool removes the management socket, or puts its own there: within ten seconds it is the daemon's again."""

from __future__ import annotations

import json
import socket
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from tests.fakes.daemon import DaemonProcess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.daemon import Wire

pytestmark = pytest.mark.attack

SECONDS = 10

TOOL = """
    import os, shutil, socket, sys, time

    path, way = sys.argv[1:]
    folder = os.path.dirname(path)

    def listen(fake):
        '''Say hello as acpbot does, to whoever connects.'''
        while True:
            connection, _ = fake.accept()
            connection.sendall(b'{"jsonrpc":"2.0","method":"hello","params":{"server":"fake"}}\\n')

    def put(at=path):
        fake = socket.socket(socket.AF_UNIX)
        fake.bind(at)
        return fake

    if way == "folder":
        shutil.rmtree(folder)
        sys.exit()
    os.unlink(path)
    if way == "removed":
        sys.exit()
    if way == "link":
        fake = put(path + ".fake")
        os.symlink(path + ".fake", path)
    else:
        fake = put()
    if way == "ended listener":
        child = os.fork()
        if child == 0:
            fake.listen()
            os._exit(0)
        os.waitpid(child, 0)
    else:
        fake.listen(0 if way == "full" else 10)
    filling = []
    while way == "full":
        filling.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        if filling[-1].connect_ex(path) != 0 and os.fork() == 0:
            os.setsid()
            for number in range(3):
                os.close(number)
            time.sleep(60)
            os._exit(0)
        elif len(filling) > 5:
            sys.exit()
    if os.fork() == 0:
        os.setsid()
        for number in range(3):
            os.close(number)
        listen(fake)
"""


def reached(path: Path) -> str:
    """Who answers at the path."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        try:
            client.connect(str(path))
            with client.makefile("rb") as lines:
                return json.loads(lines.readline())["params"]["server"]
        except (OSError, ValueError):
            return "nobody"


@pytest.mark.parametrize("way", ["removed", "folder", "fake", "ended listener", "full", "link"])
def test_the_operator_reaches_the_daemon_again(tmp_path: Path, way: str) -> None:
    tool = tmp_path / "tool.py"
    tool.write_text(textwrap.dedent(TOOL))
    with DaemonProcess(tmp_path / "home") as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="1")
        command = f"{sys.executable} {tool} {daemon.socket} {way!r}"
        wire.turn("1", f"tool {json.dumps(command)}")
        began = time.monotonic()
        while (who := reached(daemon.socket)) != "acpbot" and time.monotonic() < began + SECONDS:
            time.sleep(0.05)
        print(f"{way}: {who} answers after {time.monotonic() - began:.1f} s")
        assert who == "acpbot"
        assert "socket_lost" in daemon.log.read_text()
        assert daemon.stop() == 0  # it ends what the tool has left running


def test_a_file_in_its_place_is_reported(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "home") as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="1")
        command = f"rm {daemon.socket}; echo mine > {daemon.socket}"
        wire.turn("1", f"tool {json.dumps(command)}")
        began = time.monotonic()
        while (check := socket_check(wire))["ok"] and time.monotonic() < began + SECONDS:
            time.sleep(0.05)
        assert check["reason"].startswith(f"cannot serve {daemon.socket}: it is not a socket; ")
        assert daemon.socket.read_text() == "mine\n"
        daemon.socket.unlink()
        while not (check := socket_check(wire))["ok"] and time.monotonic() < began + SECONDS:
            time.sleep(0.05)
        assert reached(daemon.socket) == "acpbot"


def socket_check(wire: Wire) -> dict:
    return next(check for check in wire.call("health.get")["checks"] if check["name"] == "socket")
