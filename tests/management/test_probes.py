"""The probes on a real port: what they answer and refuse, and that no client keeps them open."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys

import msgspec
import pytest

from acpbot.daemon import health
from acpbot.errors import StartError
from acpbot.management.probes import ProbeLimits, Probes
from tests.fakes.pool import make_health_inputs
from tests.support.management_server import LIMIT


class Daemon:
    """Health that a test changes, and probes that report it."""

    def __init__(self, limits: ProbeLimits | None = None, host: str = "127.0.0.1") -> None:
        self.inputs = make_health_inputs()
        self.asked = 0
        self.broken: Exception | None = None
        self.probes = Probes(self.look, host, 0, limits=limits)

    def look(self):
        self.asked += 1
        if self.broken is not None:
            raise self.broken
        return health.readiness(self.inputs)

    def change(self, **members) -> None:
        self.inputs = msgspec.structs.replace(self.inputs, **members)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.probes.address)

    async def exchange(self, data: bytes, *, eof: bool = False) -> bytes:
        """All that is answered until the server closes."""
        reader, writer = await self.connect()
        writer.write(data)
        if eof:
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), LIMIT)
        finally:
            writer.close()

    async def get(self, path: str, method: str = "GET", headers: str = "") -> tuple[int, dict[str, str], str]:
        request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
        return parsed(await self.exchange(request.encode()))


def parsed(answer: bytes) -> tuple[int, dict[str, str], str]:
    head, _, body = answer.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


@pytest.fixture
async def make_daemon():
    started = []

    async def make(*args, **others) -> Daemon:
        daemon = Daemon(*args, **others)
        await daemon.probes.start()
        started.append(daemon)
        return daemon

    yield make
    for daemon in started:
        await daemon.probes.close()


@pytest.fixture
async def daemon(make_daemon):
    return await make_daemon()


def broken_chat(daemon: Daemon) -> None:
    chat = msgspec.structs.replace(daemon.inputs.chat, connected=False, disconnected_seconds=60.0)
    daemon.change(chat=chat)


def full_pool(daemon: Daemon) -> None:
    daemon.change(pool=msgspec.structs.replace(daemon.inputs.pool, busy=10, sessions=10))


async def test_a_ready_daemon_passes_all_probes(daemon):
    assert (await daemon.get("/livez"))[::2] == (200, "ok")
    assert (await daemon.get("/readyz"))[::2] == (200, "ok")
    status, headers, body = await daemon.get("/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok", "uptime_seconds": 3605.2, "chat_connected": True})
    assert headers["content-type"].startswith("application/json")


async def test_verbose_lists_the_checks(daemon):
    assert (await daemon.get("/livez?verbose"))[2] == "[+]loop ok\nlivez check passed\n"
    status, headers, body = await daemon.get("/readyz?verbose=1")
    assert (status, body) == (200, "[+]chat ok\n[+]pool ok\n[+]drain ok\nreadyz check passed\n")
    assert headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("ruin", "failed"),
    [
        (broken_chat, "chat"),
        (full_pool, "pool"),
        (lambda daemon: daemon.change(state="draining"), "drain"),
        (lambda daemon: daemon.change(state="stopping"), "drain"),
        (lambda daemon: daemon.change(state="starting"), "chat"),
    ],
)
async def test_readyz_gives_no_reasons(daemon, ruin, failed):
    ruin(daemon)
    status, _, body = await daemon.get("/readyz")
    assert status == 503
    lines = [f"[-]{n} failed: reason withheld" if n == failed else f"[+]{n} ok" for n in ("chat", "pool", "drain")]
    assert body == "\n".join([*lines, "readyz check failed\n"])
    assert (await daemon.get("/livez"))[::2] == (200, "ok")
    status, _, body = await daemon.get("/healthz")
    assert (status, json.loads(body)["status"]) == (200, "not_ready")


async def test_a_late_loop_does_not_fail_readyz(daemon):
    daemon.change(loop_lag_ms=9000.0)
    assert (await daemon.get("/readyz?verbose"))[::2] == (
        200,
        "[+]chat ok\n[+]pool ok\n[+]drain ok\nreadyz check passed\n",
    )


async def test_livez_reads_no_state(daemon):
    daemon.broken = RuntimeError("no facts")
    assert (await daemon.get("/livez"))[::2] == (200, "ok")
    assert daemon.asked == 0


async def test_a_failure_is_a_500_without_details(daemon, caplog):
    daemon.broken = RuntimeError("a secret of the inside")
    status, _, body = await daemon.get("/readyz")
    assert (status, body) == (500, "internal server error")
    assert "a secret of the inside" in caplog.text


async def test_head_has_the_length_and_no_body(daemon):
    for path in ("/livez", "/readyz", "/healthz", "/readyz?verbose"):
        _, headers, body = await daemon.get(path)
        status, head_headers, head_body = await daemon.get(path, "HEAD")
        assert (status, head_headers["content-length"], head_body) == (200, str(len(body)), "")
        assert headers["content-length"] == str(len(body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
async def test_other_verbs_are_not_allowed(daemon, method):
    target = "localhost:80" if method == "CONNECT" else "/livez"
    status, headers, _ = await daemon.get(target, method)
    assert status in {400, 405}
    if status == 405:
        assert headers["allow"] == "GET, HEAD"
    else:
        assert method == "CONNECT"


@pytest.mark.parametrize("path", ["/", "/livez/", "//livez", "/sessions", "/livez/../readyz", "/readyz%00", "/metrics"])
async def test_other_paths_are_not_found(daemon, path):
    assert (await daemon.get(path))[0] == 404


async def test_no_answer_shows_a_version(daemon):
    answers = [
        await daemon.get("/livez"),
        await daemon.get("/nothing"),
        await daemon.get("/livez", "POST"),
        parsed(await daemon.exchange(b"NONSENSE\r\n\r\n")),
        parsed(await daemon.exchange(b"GET /livez HTTP/1.1\r\nx: " + b"y" * 9000 + b"\r\n\r\n")),
    ]
    assert [status for status, _, _ in answers] == [200, 404, 405, 400, 431]
    for _, headers, body in answers:
        assert headers["server"] == "acpbot"
        assert "aiohttp" not in str(headers) + body
        assert "Python" not in str(headers) + body


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * 2000 + b"\r\n",
        b"a" * 8193,
        b"a" * 3_000_000,
    ],
)
async def test_a_large_head_is_refused(daemon, head):
    assert parsed(await daemon.exchange(head))[0] == 431
    assert (await daemon.get("/livez"))[0] == 200


async def test_a_head_as_long_as_the_limit_is_served(daemon):
    start, end = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\na: ", b"\r\n\r\n"
    head = start + b"b" * (8192 - len(start) - len(end)) + end
    assert parsed(await daemon.exchange(head))[0] == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\r\n\r\n\x00\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_http_get_a_400_and_no_traceback(daemon, caplog, garbage):
    caplog.set_level(logging.INFO)
    answer = await daemon.exchange(garbage, eof=True)
    assert not answer or parsed(answer)[0] == 400
    assert (await daemon.get("/livez"))[0] == 200
    assert [record for record in caplog.records if not record.message.startswith("Executing ")] == []  # a slow machine


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbytes",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_a_body_is_not_read_and_the_connection_closes(make_daemon, request_):
    daemon = await make_daemon(ProbeLimits(linger_seconds=0.05))
    answer = await daemon.exchange(request_)
    status, headers, body = parsed(answer)
    assert (status, headers["connection"], body) == (200, "close", "ok")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_the_answer_arrives_although_a_large_body_follows(daemon):
    size = 5_000_000
    answer = await daemon.exchange(
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (size, bytes(size))
    )
    assert parsed(answer)[::2] == (200, "ok")


async def test_a_client_that_closes_its_writing_side_gets_the_answer(daemon):
    assert parsed(await daemon.exchange(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", eof=True))[::2] == (200, "ok")
    assert parsed(await daemon.exchange(b"GET /livez HTTP/1.0\r\n\r\n"))[::2] == (200, "ok")


async def test_empty_lines_before_a_request_are_ignored(daemon):
    assert parsed(await daemon.exchange(b"\r\n\r\nGET /livez HTTP/1.0\r\n\r\n"))[::2] == (200, "ok")


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LIMIT)
    length = int(parsed(head)[1]["content-length"])
    return head + await asyncio.wait_for(reader.readexactly(length), LIMIT)


async def test_a_connection_serves_several_requests(make_daemon):
    daemon = await make_daemon(ProbeLimits(head_seconds=0.2))
    reader, writer = await daemon.connect()
    for _ in range(3):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert parsed(await one_answer(reader))[::2] == (200, "ok")
    assert await asyncio.wait_for(reader.read(), LIMIT) == b"", "and closed when nothing comes"
    writer.close()


async def test_every_head_of_a_connection_is_bounded(daemon):
    reader, writer = await daemon.connect()
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\na: " + b"b" * 8000 + b"\r\n\r\n")
    assert parsed(await one_answer(reader))[0] == 200
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\na: " + b"b" * 8200 + b"\r\n\r\n")
    assert parsed(await asyncio.wait_for(reader.read(), LIMIT))[0] == 431
    writer.close()


@pytest.mark.parametrize(("sent", "status"), [(b"GET /livez HT", 408), (b"", None), (b"\r\n\r\n\r\n", None)])
async def test_a_slow_head_times_out(make_daemon, sent, status):
    daemon = await make_daemon(ProbeLimits(head_seconds=0.2))
    answer = await daemon.exchange(sent)
    assert answer == b"" if status is None else parsed(answer)[0] == status


async def test_a_head_in_single_bytes_times_out(make_daemon):
    daemon = await make_daemon(ProbeLimits(head_seconds=0.2))
    reader, writer = await daemon.connect()

    async def drip() -> None:
        while True:
            writer.write(b"a")
            await asyncio.sleep(0.01)  # the pace of the attack

    dripping = asyncio.create_task(drip())
    assert parsed(await one_answer(reader))[0] == 408
    dripping.cancel()
    writer.close()


REQUEST = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_the_oldest_silent_connection_makes_room_for_another_one(make_daemon):
    daemon = await make_daemon(ProbeLimits(connections=4, head_seconds=LIMIT))
    held = [await daemon.connect() for _ in range(4)]
    held[1][1].write(b"GET /livez HT")  # half a head is silence too
    held[0][1].write(REQUEST)
    assert parsed(await one_answer(held[0][0]))[0] == 200, "it is not the oldest any more"
    for number in (1, 2, 3):
        assert (await daemon.get("/livez"))[0] == 200
        held.append(await daemon.connect())
        assert await asyncio.wait_for(held[number][0].read(), LIMIT) == b"", f"connection {number} was closed"
    held[0][1].write(REQUEST)
    assert parsed(await one_answer(held[0][0]))[0] == 200, "the others were not"
    for _, writer in held:
        writer.close()


async def test_the_next_client_waits_until_the_oldest_silent_one_has_had_its_time(make_daemon):
    daemon = await make_daemon(ProbeLimits(connections=2, kept_seconds=LIMIT, head_seconds=2 * LIMIT))
    held = [await daemon.connect() for _ in range(2)]
    for reader, writer in held:
        writer.write(REQUEST)
        assert parsed(await one_answer(reader))[0] == 200
    next_one = asyncio.create_task(daemon.get("/livez"))
    for _ in range(20):
        await asyncio.sleep(0)
    for reader, writer in held:
        writer.write(REQUEST)
        assert parsed(await one_answer(reader))[0] == 200, "it was not dropped"
    assert not next_one.done()
    next_one.cancel()
    for _, writer in held:
        writer.close()


async def test_many_clients_are_served_at_once_and_no_connection_stays(daemon):
    answers = await asyncio.gather(*(daemon.get("/readyz") for _ in range(60)))
    assert {answer[0] for answer in answers} == {200}
    assert daemon.probes._web is not None
    while len(daemon.probes._web.silent) + len(daemon.probes._web.answering) > 1:  # the one that asks
        await daemon.get("/livez")
    assert len(daemon.probes._web.connections) <= 1


async def test_an_address_in_use_is_an_error(daemon):
    host, port = daemon.probes.address
    with pytest.raises(StartError, match=rf"cannot serve probes at 127.0.0.1:{port}: .*[Aa]ddress already in use"):
        await Probes(daemon.look, host, port).start()


async def test_an_address_of_another_machine_is_an_error(daemon):
    with pytest.raises(
        StartError, match=r"cannot serve probes at 192.0.2.1:8090: .*; change \[management.probes\] bind"
    ):
        await Probes(daemon.look, "192.0.2.1", 8090).start()


async def test_probes_serve_ipv6(make_daemon):
    try:
        daemon = await make_daemon(host="::1")
    except StartError:
        pytest.skip("there is no IPv6 here")
    assert (await daemon.get("/livez"))[0] == 200
    with pytest.raises(StartError, match=r"\[::1\]:"):
        await Probes(daemon.look, "::1", daemon.probes.address[1]).start()


async def test_closing_closes_the_port_and_every_connection(make_daemon):
    daemon = await make_daemon()
    address = daemon.probes.address
    reader, writer = await daemon.connect()
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    await one_answer(reader)
    await daemon.probes.close()
    assert await asyncio.wait_for(reader.read(), LIMIT) == b""
    writer.close()
    with socket.socket() as client:
        assert client.connect_ex(address) != 0


def test_aiohttp_is_loaded_only_with_the_probes():
    code = "import sys, acpbot.management.server, acpbot.management.listener; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout == "False\n"
