"""The readiness protocol, against a real datagram socket."""

from __future__ import annotations

import socket

import pytest

from acpbot.daemon.systemd import ServiceManager


@pytest.mark.parametrize("abstract", [False, True])
def test_states_arrive_as_lines(tmp_path, abstract):
    path = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + path if abstract else path)
        ServiceManager({"NOTIFY_SOCKET": "@" + path if abstract else path}, str).send(READY="1", STATUS="two\nlines")
        assert server.recv(1000) == b"READY=1\nSTATUS=two lines"


def test_a_service_manager_that_does_not_listen_is_ignored(tmp_path):
    ServiceManager({}, str).send(READY="1")
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "missing")}, str).send(READY="1")
    assert list(tmp_path.iterdir()) == []
