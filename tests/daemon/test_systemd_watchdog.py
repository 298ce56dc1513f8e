"""systemd's watchdog: when the daemon pings, and when it does not."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time

import pytest

from acpbot.daemon.systemd import ServiceManager, SystemdWatchdog, watchdog_interval
from acpbot.management.protocol import Limits
from tests.fakes.daemon import DEMO_AGENT, LIMIT, DaemonProcess
from tests.support.management_server import Harness
from tests.support.open_files import no_more_files


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(0)
        yield server


@pytest.fixture
async def harness(tmp_path):
    harness = Harness(tmp_path / "harness")
    await harness.start()
    yield harness
    await harness.stop()


@pytest.fixture
def make(tmp_path, manager):  # noqa: ARG001 - it has to listen
    def make(path, seconds: float = LIMIT) -> SystemdWatchdog:
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")}, str)
        return SystemdWatchdog(manager, None if path is None else str(path), seconds=seconds)

    return make


def pings(manager) -> list[bytes]:
    found = []
    try:
        while True:
            found.append(manager.recv(100))
    except BlockingIOError:
        return found


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, None),
        ({"WATCHDOG_USEC": "", "WATCHDOG_PID": str(os.getpid())}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
    ],
)
def test_the_watchdog_interval_follows_the_environment(environ, seconds):
    assert watchdog_interval(environ) == seconds


async def test_a_ping_follows_each_answer(harness, make, manager):
    assert await make(harness.path).beat()
    assert await make(harness.path).beat()
    assert pings(manager) == [b"WATCHDOG=1"] * 2
    while harness.server._connections:  # none stays
        harness.server._gone.clear()
        await asyncio.wait_for(harness.server._gone.wait(), LIMIT)


async def test_a_daemon_without_free_connections_still_pings(tmp_path, make, manager):
    harness = Harness(tmp_path / "full", Limits(connections=0))
    await harness.start()
    assert await make(harness.path).beat()
    assert pings(manager) == [b"WATCHDOG=1"]
    await harness.stop()


async def test_a_daemon_without_descriptors_still_pings(harness, make, manager):
    watchdog = make(harness.path)
    with no_more_files():
        assert await watchdog.beat()
    assert pings(manager) == [b"WATCHDOG=1"]


async def test_a_ping_waits_for_its_turn_where_many_clients_connect(tmp_path, make, manager):
    path = tmp_path / "crowded"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listening.bind(str(path))
    listening.listen(0)
    with socket.socket(socket.AF_UNIX) as crowd:
        crowd.connect(str(path))  # the backlog is full
        beat = asyncio.create_task(make(path).beat())
        await asyncio.sleep(0)
        harness = Harness(tmp_path / "late")
        await harness.server.start(listening)
        assert await beat
    assert pings(manager) == [b"WATCHDOG=1"]
    await harness.stop()


async def test_no_ping_while_the_socket_is_missing(harness, make, manager, caplog):
    watchdog = make(harness.path)
    away = harness.path.with_name("away.sock")
    harness.path.rename(away)
    assert not await watchdog.beat()
    assert pings(manager) == []
    (record,) = [record for record in caplog.records if record.message == "watchdog_unanswered"]
    assert record.levelno == logging.WARNING
    assert "No such file" in record.fields["reason"]
    away.rename(harness.path)
    assert await watchdog.beat()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (None, "no answer within 0.05 s"),
        (b"", "the connection was closed"),
        (b"SSH-2.0\n", "Expecting value"),
        (b"[]\n", "a line that is no JSON object"),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32004,"data":{"kind":"access_denied"}}}\n', "no hello"),
        (b'{"jsonrpc":"2.0","method":"hello","params":{}}\n', "the connection was closed"),
        (
            b'{"method":"hello"}\n{"method":"news"}\n{"id":1,"error":{"code":-32603}}\n',
            "an error in answer to health.get",
        ),
        (b"x" * 100_000, "Separator is not found"),
    ],
)
async def test_no_ping_when_another_program_answers_at_the_socket(tmp_path, make, caplog, said, reason):
    closed = asyncio.Event()

    async def serve(reader, writer):
        if said is not None:
            writer.write(said)
            writer.write_eof()
        await reader.read()
        writer.close()
        closed.set()

    server = await asyncio.start_unix_server(serve, tmp_path / "other.sock")
    async with server:
        assert not await make(tmp_path / "other.sock", 0.05 if said is None else LIMIT).beat()
        await asyncio.wait_for(closed.wait(), LIMIT)
    found = [record.fields["reason"] for record in caplog.records if record.message == "watchdog_unanswered"]
    assert len(found) == 1
    assert reason in found[0]


@pytest.mark.parametrize("served", [True, False])
async def test_no_ping_when_the_loop_was_blocked_for_too_long(harness, make, manager, served):
    beat = asyncio.create_task(make(harness.path if served else None, 0.05).beat())
    asyncio.get_running_loop().call_soon(time.sleep, 0.1)
    assert not await asyncio.wait_for(beat, LIMIT)
    assert pings(manager) == []


async def test_without_a_management_socket_a_pass_of_the_loop_is_enough(make, manager, caplog):
    caplog.set_level(logging.INFO)
    running = asyncio.create_task(make(None, 60).run())
    ping = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(manager, 100), LIMIT)
    assert ping == b"WATCHDOG=1"
    running.cancel()
    await asyncio.wait([running])
    (fields,) = [record.fields for record in caplog.records if record.message == "watchdog"]
    assert fields == {"seconds": 60, "asks": "the event loop only: the management socket is off"}


def test_a_real_daemon_sends_no_ping_while_its_socket_is_missing_and_binds_it_again(tmp_path):
    with DaemonProcess(tmp_path / "d", WATCHDOG_USEC="100000") as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        daemon.wait_for(b"WATCHDOG=1")
        daemon.socket.unlink()
        daemon.socket.write_text("a file, which acpbot does not replace")
        wire.turn("demo", "say a")  # a ping whose round trip had begun is through by then
        daemon.messages()
        wire.turn("demo", "sleep 0.4")
        assert not any("WATCHDOG" in message for message in daemon.messages())
        assert "watchdog_unanswered" in daemon.log.read_text()
        daemon.socket.unlink()
        daemon.wait_for(b"WATCHDOG=1")
        with daemon.wire() as again:
            assert {"name": "socket", "ok": True, "reason": None} in again.call("health.get")["checks"]
        assert "socket_bound_again" in daemon.log.read_text()
        assert wire.call("health.get")["live"], "the connection from before is still served"
        assert daemon.stop() == 0
        assert not daemon.socket.exists()


def test_the_watchdog_uses_the_socket_that_systemd_passed(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "from-systemd.sock"))
        listening.listen()
        with DaemonProcess(tmp_path / "d", handed=listening, WATCHDOG_USEC="100000") as daemon:
            for _ in range(3):
                daemon.wait_for(b"WATCHDOG=1")
            assert not daemon.socket.exists()
            daemon.socket = tmp_path / "from-systemd.sock"
            with daemon.wire() as wire:
                assert wire.hello["params"]["state"] == "running"
            assert daemon.stop() == 0
        assert str(tmp_path / "from-systemd.sock") in daemon.log.read_text()


def test_a_daemon_without_a_management_socket_pings_too(tmp_path):
    config = DEMO_AGENT + "[management]\nenabled = false\n"
    with DaemonProcess(tmp_path / "d", config, WATCHDOG_USEC="100000") as daemon:
        for _ in range(2):
            daemon.wait_for(b"WATCHDOG=1")
        assert "the management socket is off" in daemon.log.read_text()
        assert daemon.stop() == 0
