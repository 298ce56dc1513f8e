"""What a connection counts as not read by its client, and what it does from which count on."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.aio import TaskSet
from acpbot.management.access import PeerCredentials
from acpbot.management.connection import TURN_SECONDS, Answer, ClientConnection
from acpbot.management.protocol import Limits, notification_line, result_line

if TYPE_CHECKING:
    from acpbot.jsonrpc import Request

UNSENT = 160_000


class Owner:
    """A server that welcomes whoever connects."""

    def __init__(self) -> None:
        self.limits = Limits(unsent=UNSENT)
        self.tasks = TaskSet("test")
        self.closed = asyncio.Event()
        self.transport: asyncio.Transport | None = None
        self.was_reading: list[bool] = []

    def begin(self, _connection: ClientConnection, request: Request) -> Answer:
        """Answer, and take longer than a connection's turn."""
        assert self.transport is not None
        self.was_reading.append(self.transport.is_reading())
        until = time.monotonic() + 2 * TURN_SECONDS
        while time.monotonic() < until:
            pass
        return Answer(result_line(request.id, {}), [])

    def on_connected(self, connection: ClientConnection, transport: asyncio.Transport) -> None:
        self.transport = transport
        connection.welcome(PeerCredentials(pid=1, uid=0, gid=0), "admin", {})

    def on_closed(self, _connection: ClientConnection) -> None:
        self.closed.set()


@pytest.fixture
async def connected():
    """A connection, its owner, and the client's end; all are closed."""
    owner: Any = Owner()
    ours, client = socket.socketpair()
    client.setblocking(False)
    _, connection = await asyncio.get_running_loop().connect_accepted_socket(lambda: ClientConnection(owner), ours)
    await asyncio.sleep(0)
    yield SimpleNamespace(connection=connection, owner=owner, client=client)
    client.close()
    await asyncio.wait_for(owner.closed.wait(), 20)


async def test_streams_have_room_for_half_of_what_a_client_may_leave_unread(connected):
    connection = connected.connection
    for _ in range(3):
        connection.post(b"x" * (UNSENT // 2 - 1))
        assert connection.has_room
        connection.post(b"x")
        assert not connection.has_room
        read = 0
        while read < UNSENT // 2:
            read += len(await asyncio.get_running_loop().sock_recv(connected.client, UNSENT))
        await asyncio.sleep(0)


async def test_a_client_that_reads_nothing_is_waited_for_from_a_quarter_of_it_to_a_sixteenth(connected):
    assert connected.owner.transport.get_write_buffer_limits() == (UNSENT // 16, UNSENT // 4)


async def test_nothing_more_is_read_from_a_client_whose_requests_wait_for_their_turn(connected):
    lines = [b'{"jsonrpc":"2.0","id":%d,"method":"health.get"}\n' % number for number in range(12)]
    connected.client.send(b"".join(lines))
    received = b""
    while received.count(b"\n") < 1 + len(lines):
        received += await asyncio.get_running_loop().sock_recv(connected.client, 65_536)
    assert connected.owner.was_reading == [True] + [False] * (len(lines) - 1)
    assert connected.owner.transport.is_reading()


def test_only_what_can_not_be_encoded_is_replaced_in_a_line():
    told = {"command": "caf\udce9", "count": 5, "ok": True, "none": None, "cost": 0.5, "\udcff": ["a", 1, "\udc80", {}]}
    wanted = {**told, "command": "caf\\udce9", "\\udcff": ["a", 1, "\\udc80", {}]}
    del wanted["\udcff"]
    assert json.loads(result_line(7, told)) == {"jsonrpc": "2.0", "id": 7, "result": wanted}
    assert json.loads(notification_line("m", told)) == {"jsonrpc": "2.0", "method": "m", "params": wanted}
