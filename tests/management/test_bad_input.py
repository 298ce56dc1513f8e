"""What a client may send, and the result: one clear error, while the daemon serves all other clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest

from acpbot.management.protocol import Limits
from acpbot.management.server import ManagementServer
from tests.fakes.pool import make_row
from tests.support.management_server import LIMIT, THREAD

GOOD = b'{"jsonrpc":"2.0","id":"good","method":"health.get"}\n'


def request(**members) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "health.get"} | members).encode()


@pytest.mark.parametrize(
    ("line", "request_id", "code", "words"),
    [
        (b"hello", None, -32700, "as JSON"),
        (b'{"jsonrpc":"2.0","id":1,', None, -32700, "as JSON"),
        (b"[" * 10_000, None, -32700, "nests deeper than 32"),
        (b'{"a":' * 10_000, None, -32700, "nests deeper than 32"),
        (b'{"jsonrpc":"2.0","id":1,"method":"health.get","params":{"x":NaN}}', None, -32700, "NaN"),
        (b'{"jsonrpc":"2.0","id":1,"method":"health.get","params":{"x":-Infinity}}', None, -32700, "Infinity"),
        (b'{"jsonrpc":"2.0","id":1,"method":"health.get","params":{"x":1e999}}', None, -32700, "range"),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"health.get"}', None, -32700, "64 bits"),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"health.get"}', None, -32700, "twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"health.get","params":{"a":1,"a":2}}', None, -32700, "twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}', None, -32700, "UTF-8"),
        (b'{"jsonrpc":"2.0","id":1,"method":"health.get\x00"}', None, -32700, "NUL"),
        (b'{"jsonrpc":"2.0","id":"\\ud800","method":"health.get"}', None, -32700, "surrogate"),
        (b'{"jsonrpc":"2.0","id":1,"method":"health.get"} x', None, -32700, "extra data"),
        (b"[" + request() + b"]", None, -32600, "batch"),
        (b"[]", None, -32600, "batch"),
        (b"7", None, -32600, "object"),
        (b"null", None, -32600, "object"),
        (b'{"jsonrpc":"2.0","method":"health.get"}', None, -32600, "id"),
        (request(id=None), None, -32600, "id"),
        (request(id=1.5), None, -32600, "id"),
        (request(id=True), None, -32600, "id"),
        (request(id=[1]), None, -32600, "id"),
        (request(jsonrpc="1.0"), 1, -32600, "2.0"),
        (request(method=7), 1, -32600, "method"),
        (request(extra=1), 1, -32600, "extra"),
        (request(params=[1]), 1, -32602, "object"),
        (request(params=None), 1, -32602, "object"),
        (request(method="sessions.kill_all"), 1, -32601, "no such method"),
        (request(method=""), 1, -32601, "no such method"),
        (request(method="__class__"), 1, -32601, "no such method"),
        (request(method="hello"), 1, -32601, "no such method"),
    ],
)
async def test_a_bad_line_gets_one_error_and_the_next_line_is_served(harness, line, request_id, code, words):
    bystander = await harness.client()
    client = await harness.client()
    client.write(line + b"\r\n" + GOOD)
    answer = await client.read()
    assert (answer["id"], answer["error"]["code"]) == (request_id, code)
    assert answer["error"]["data"] == {"kind": "invalid"}
    assert answer["error"]["message"].startswith("cannot ")
    assert words in answer["error"]["message"]
    assert len(answer["error"]["message"]) < 300
    assert (await client.read())["id"] == "good"
    assert (await bystander.call("health.get"))["live"]


async def test_blank_lines_are_ignored(harness):
    client = await harness.client()
    client.write(b"\n \r\n\t\n" + GOOD)
    assert (await client.read())["id"] == "good"


@pytest.mark.parametrize("size", [65_535, 65_536])
async def test_a_line_as_long_as_the_limit_is_served(harness, size):
    client = await harness.client()
    blank = request(method="sessions.get", params={"thread": ""})
    line = request(method="sessions.get", params={"thread": "x" * (size - 1 - len(blank))}) + b"\n"
    assert len(line) == size
    client.write(line + GOOD)
    assert (await client.read())["error"]["data"]["kind"] == "not_found"
    assert (await client.read())["id"] == "good"


@pytest.mark.parametrize("line", [b"x" * 65_536 + b"\n", b"x" * 65_537, b'{"a":"' + b"x" * 3_000_000])
async def test_an_overlong_line_gets_an_error_and_the_connection_closes(harness, line):
    bystander = await harness.client()
    client = await harness.client()
    client.write(line)
    answer = await client.read()
    assert (answer["id"], answer["error"]["code"], answer["error"]["data"]) == (None, -32007, {"kind": "line_too_long"})
    assert await client.closed()
    assert (await bystander.call("health.get"))["live"]


async def test_an_unfinished_line_times_out(make_harness):
    harness = await make_harness(Limits(line_seconds=0.2))
    bystander = await harness.client()
    client = await harness.client()
    client.write(GOOD + b'{"jsonrpc":')
    assert (await client.read())["id"] == "good"
    answer = await client.read()
    assert (answer["id"], answer["error"]["code"], answer["error"]["data"]) == (None, -32006, {"kind": "timeout"})
    assert await client.closed()
    assert (await bystander.call("health.get"))["live"]


async def test_each_unfinished_line_has_its_own_time(make_harness):
    harness = await make_harness(Limits(line_seconds=0.2))
    client, bystander = await harness.client(), await harness.client()
    client.write(GOOD[:9])
    assert (await bystander.call("health.get"))["live"], "the first part has been read"
    client.write(GOOD[9:] + GOOD[:9])
    assert (await client.read())["id"] == "good"
    assert (await client.read())["error"]["data"] == {"kind": "timeout"}
    assert await client.closed()


async def test_single_bytes_do_not_extend_the_time_of_a_line(make_harness):
    harness = await make_harness(Limits(line_seconds=0.2))
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        await loop.sock_connect(client, str(harness.path))

        async def drip() -> None:
            while True:
                await loop.sock_sendall(client, b" ")
                await asyncio.sleep(0.005)  # the pace of the attack

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await asyncio.wait_for(drip(), LIMIT)
        _hello, refusal, _ = (await loop.sock_recv(client, 65_536)).split(b"\n")
    assert json.loads(refusal)["error"]["data"]["kind"] == "timeout"


async def test_an_idle_connection_stays_open(make_harness):
    harness = await make_harness(Limits(line_seconds=0.1))
    idle, slow = await harness.client(), await harness.client()
    slow.write(GOOD)
    assert (await slow.read())["id"] == "good"
    other = await harness.client()
    other.write(b"{")
    assert (await other.read())["error"]["data"]["kind"] == "timeout", "so long has been waited"
    assert (await idle.call("health.get"))["live"]
    assert (await slow.call("health.get"))["live"]


async def test_a_request_in_single_bytes_is_answered(harness):
    client = await harness.client()
    for byte in GOOD:
        client.write(bytes([byte]))
        await client.writer.drain()
    assert (await client.read())["id"] == "good"


async def test_a_client_that_closes_its_writing_side_gets_every_answer(harness):
    harness.pool.free.clear()
    client = await harness.client()
    kill = client.send("sessions.kill", {"targets": [{"thread_id": THREAD, "session_id": "s-0123"}]})
    client.write(GOOD + b'{"jsonrpc":"2.0"')
    client.writer.write_eof()
    assert (await client.read())["id"] == "good"
    answer = await client.read()
    assert (answer["id"], answer["error"]["code"]) == (None, -32700)
    assert "unfinished line" in answer["error"]["message"]
    harness.pool.free.set()
    assert (await client.answer(kill))["result"]["results"][0]["outcome"] == "ended"
    assert await client.closed()


async def test_the_thirty_third_connection_gets_an_error(harness):
    clients = [await harness.client(hello=False) for _ in range(100)]
    first = [await client.read() for client in clients]
    assert [line.get("method") for line in first] == ["hello"] * 32 + [None] * 68
    for client, line in zip(clients[32:], first[32:], strict=True):
        assert (line["id"], line["error"]["code"], line["error"]["data"]) == (None, -32008, {"kind": "too_many"})
        assert await client.closed()
    assert (await clients[0].call("health.get"))["live"]
    await clients[31].close()
    assert (await clients[0].call("health.get"))["live"]
    assert (await harness.client()).hello["method"] == "hello"


async def test_requests_under_way_are_bounded(make_harness):
    harness = await make_harness(Limits(running=3))
    harness.pool.free.clear()
    client = await harness.client()
    target = [{"thread_id": THREAD, "session_id": "s-0123"}]
    kills = [client.send("sessions.kill", {"targets": target}) for _ in range(3)]
    error = await client.refused("sessions.kill", targets=target)
    assert (error["code"], error["data"]) == (-32008, {"kind": "too_many"})
    assert (await client.call("health.get"))["live"], "what is answered at once needs no place"
    assert await (await harness.client()).call("sessions.get", thread=THREAD), "nor does another connection"
    harness.pool.free.set()
    for kill in kills:
        assert "result" in await client.answer(kill)
    assert "result" in await client.answer(client.send("sessions.get", {"thread": THREAD}))


async def test_thousands_of_requests_at_once_are_answered_in_order(harness):
    client, bystander = await harness.client(), await harness.client()
    lines = [json.dumps({"jsonrpc": "2.0", "id": n, "method": "sessions.list"}).encode() for n in range(3000)]
    client.write(b"\n".join(lines) + b"\n")
    for start in range(0, 3000, 500):
        assert [answer["id"] for answer in await client.read_many(500)] == list(range(start, start + 500))
        assert (await bystander.call("health.get"))["live"]


async def test_a_client_that_never_reads_is_disconnected(make_harness, caplog):
    harness = await make_harness(Limits(unsent=64 * 1024, stall_seconds=0.2))
    bystander = await harness.client()
    with socket.socket(socket.AF_UNIX) as deaf:
        loop = asyncio.get_running_loop()
        deaf.setblocking(False)
        await loop.sock_connect(deaf, str(harness.path))

        async def ask() -> None:
            while True:
                await loop.sock_sendall(deaf, GOOD * 100)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await asyncio.wait_for(ask(), LIMIT)
    assert (await bystander.call("health.get"))["live"]
    (cut,) = [record.fields for record in caplog.records if record.message == "client_disconnected"]
    assert cut["reason"] == "it reads no answers"


async def test_a_client_whose_answer_cannot_be_queued_is_disconnected(make_harness, caplog):
    harness = await make_harness(Limits(unsent=64 * 1024, running=64))
    for number in range(100):
        harness.pool.by_thread[f"{number:05}"] = make_row(f"{number:05}", cwd="/" + "x" * 8000)
    harness.pool.free.clear()
    client = await harness.client()
    targets = [{"thread_id": f"{n:05}-{'x' * 100}", "session_id": "s"} for n in range(300)]
    for _ in range(40):
        client.send("sessions.kill", {"targets": targets})
        await client.writer.drain()
    while len(harness.pool.kills) < 40:
        await (await harness.client()).call("health.get")
    client.reader._transport.pause_reading()
    harness.pool.free.set()
    bystander = await harness.client()
    while not [record for record in caplog.records if record.message == "client_disconnected"]:
        assert (await bystander.call("health.get"))["live"]
    (cut,) = [record.fields for record in caplog.records if record.message == "client_disconnected"]
    assert "bytes unread" in cut["reason"]


async def test_a_single_answer_may_be_larger_than_the_queue(make_harness):
    harness = await make_harness(Limits(unsent=64 * 1024))
    for number in range(2000):
        harness.pool.by_thread[str(number)] = make_row(str(number))
    client = await harness.client()
    assert len((await client.call("sessions.list"))["sessions"]) == 2001
    assert (await client.call("health.get"))["live"]


async def test_a_client_that_pauses_reading_loses_no_answer(make_harness):
    harness = await make_harness(Limits(unsent=64 * 1024, stall_seconds=LIMIT))
    client, bystander = await harness.client(), await harness.client()
    client.reader._transport.pause_reading()
    for number in range(3000):
        client.send("health.get", {}, number)
    for _ in range(50):
        assert (await bystander.call("health.get"))["live"]
    client.reader._transport.resume_reading()
    assert [answer["id"] for answer in await client.read_many(3000)] == list(range(3000))


async def test_a_closing_server_answers_running_requests(harness):
    harness.pool.free.clear()
    client, idle = await harness.client(), await harness.client()
    kill = client.send("sessions.kill", {"targets": [{"thread_id": THREAD, "session_id": "s-0123"}]})
    await asyncio.wait_for(harness.pool.killing.wait(), LIMIT)
    closing = asyncio.create_task(harness.server.close())
    harness.pool.free.set()
    assert "result" in await client.answer(kill)
    await asyncio.wait_for(closing, LIMIT)
    assert await client.closed()
    assert await idle.closed()
    with pytest.raises(OSError, match="refused"):
        await asyncio.open_unix_connection(str(harness.path))


async def test_a_closing_server_waits_for_a_bounded_time(make_harness):
    harness = await make_harness(Limits(close_seconds=0.1))
    harness.pool.free.clear()
    client, deaf = await harness.client(), await harness.client()
    for number in range(2000):
        harness.pool.by_thread[str(number)] = make_row(str(number))
    deaf.reader._transport.pause_reading()
    deaf.send("sessions.list")
    kill = client.send("sessions.kill", {"targets": [{"thread_id": THREAD, "session_id": "s-0123"}]})
    await asyncio.wait_for(harness.pool.killing.wait(), LIMIT)
    await asyncio.wait_for(harness.server.close(), LIMIT)
    error = (await client.answer(kill))["error"]
    assert (error["code"], error["data"]["kind"]) == (-32005, "draining")
    assert await client.closed()


async def test_random_bytes_do_not_harm_other_clients(harness):
    bystander = await harness.client()
    for noise in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        bytes(range(256)) * 40,
        b"\n" * 9999,
    ):
        client = await harness.client()
        client.write(noise)
        with contextlib.suppress(ConnectionError):
            client.writer.write_eof()
        await asyncio.wait_for(client.reader.read(), LIMIT)
        assert (await bystander.call("health.get"))["live"]


async def test_a_closing_server_does_not_unlink_the_socket(harness, tmp_path):
    """Such as systemd: from Python 3.13 on asyncio would unlink it."""
    path = tmp_path / "systemd.sock"
    with socket.socket(socket.AF_UNIX) as handed:
        handed.bind(str(path))
        handed.listen()
        handed.setblocking(False)
        server = ManagementServer(harness.services)
        await server.start(handed)
        await server.close()
    assert path.is_socket()
