"""Accepting on a real socket, also when this process may open no more files."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import contextmanager

import pytest

from acpbot.management.acceptor import Acceptor
from tests.support.open_files import no_more_files

LIMIT = 10


class Server:
    """Greets each client with ``hello``, or with ``short`` where the reserve is in use, and closes when it is told."""

    def __init__(self, folder, **others) -> None:
        self.path = str(folder / "socket")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listening.bind(self.path)
        listening.listen(16)
        self.transports: list[asyncio.Transport] = []
        self.acceptor = Acceptor(listening, lambda: Greeting(self), name="test", **others)


class Greeting(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport):
        self._server.transports.append(transport)
        transport.write(b"short" if self._server.acceptor.short else b"hello")

    def connection_lost(self, _error):
        asyncio.get_running_loop().call_soon(self._server.acceptor.refill)


@pytest.fixture
async def make_server(tmp_path):
    servers = []

    def make(**others) -> Server:
        servers.append(Server(tmp_path, **others))
        return servers[-1]

    yield make
    for server in servers:
        server.acceptor.close()
        for transport in server.transports:
            transport.close()
    await asyncio.sleep(0)  # they close in the next step of the event loop


@contextmanager
def clients(count: int):
    """Sockets, so that a connect needs no further descriptor on this side."""
    sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) for _ in range(count)]
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


async def said_to(client: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 100), LIMIT)


async def test_every_connection_is_served(make_server):
    server = make_server()
    with clients(16) as connected:
        for one in connected:
            one.connect(server.path)
        assert {await said_to(one) for one in connected} == {b"hello"}


async def test_a_connection_can_be_refused_with_a_line_before_it_costs_anything(make_server):
    server = make_server(refusal=lambda accepted: None if accepted.fileno() % 2 else b"no")
    with clients(8) as connected:
        for one in connected:
            one.connect(server.path)
        answers = [await said_to(one) for one in connected]
        assert answers.count(b"hello") == len(server.transports) < 8
        assert b"no" in answers


async def test_connections_wait_for_as_long_as_the_owner_says(make_server):
    seconds = 0.02
    server = make_server(wait=lambda: seconds)
    with clients(1) as (one,):
        one.connect(server.path)
        for _ in range(5):
            await asyncio.sleep(0)
        assert server.transports == []
        seconds = 0.0
        assert await said_to(one) == b"hello"


async def test_without_descriptors_the_reserve_serves_and_is_filled_again(make_server, caplog):
    server = make_server()
    with clients(12) as connected:
        with no_more_files():
            for one in connected[:8]:
                one.connect(server.path)
            assert {await said_to(one) for one in connected[:8]} == {b"short"}
            assert server.acceptor.short
            assert server.acceptor.exhausted
            for transport in server.transports:
                transport.close()
            for one in connected[:8]:
                assert await said_to(one) == b""
            connected[8].connect(server.path)
            assert await said_to(connected[8]) == b"short", "and again"
        logged = [record.message for record in caplog.records if record.name.startswith("acpbot")]
        assert logged == ["descriptors_exhausted"]
        server.transports[-1].close()
        connected[9].connect(server.path)
        assert await said_to(connected[9]) == b"hello"
        assert not server.acceptor.short


async def test_a_part_of_the_reserve_can_be_lent(make_server):
    server = make_server()
    with clients(1) as (one,), no_more_files():
        one.connect(server.path)
        await said_to(one)
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
        with server.acceptor.lend():
            os.close(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)


async def test_an_acceptor_that_was_closed_refuses_at_once(make_server):
    server = make_server()
    server.acceptor.close()
    server.acceptor.close()
    with clients(1) as (one,), pytest.raises(ConnectionRefusedError):
        one.connect(server.path)
