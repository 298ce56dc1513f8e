"""One stream into a pod: what goes through it, what holds it up, and how its end is told."""

from __future__ import annotations

import asyncio

import pytest

from acpbot.errors import AgentGone, AgentTimeout
from acpbot.runtimes.kubernetes.channels import ExecStatus
from acpbot.runtimes.kubernetes.exec_stream import (
    BeatStream,
    ExecStream,
    StreamRefused,
    StreamUnreachable,
    open_stream,
)
from acpbot.runtimes.kubernetes.pod_ref import ExecTarget, PodRef
from acpbot.runtimes.kubernetes.run_inside import CommandNotRun, run_inside

MIB = 1024 * 1024


class Received:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self.news = asyncio.Event()
        self.ended: asyncio.Future[ExecStatus | None] = asyncio.get_running_loop().create_future()

    def stdout_received(self, data):
        self.out += data
        self.news.set()

    def stderr_received(self, data):
        self.err += data

    def stream_ended(self, status):
        self.ended.set_result(status)

    async def size(self, count):
        async with asyncio.timeout(15):
            while len(self.out) < count:
                self.news.clear()
                await self.news.wait()

    async def end(self):
        async with asyncio.timeout(15):
            return await self.ended


@pytest.fixture
async def opened(pods):
    """Opens a stream to a shell script in a pod."""
    made: list[ExecStream] = []
    await pods.pod()

    async def start(script, kind=ExecStream, **more):
        received = Received()
        target = await pods.exec_target("one", ("sh", "-c", script), stdin=True)
        stream = await open_stream(target, received, kind, **more)
        made.append(stream)
        return stream, received

    yield start
    for stream in made:
        await stream.aclose()


async def test_output_errors_and_the_status_come_apart_and_whole(opened):
    _, received = await opened("head -c 300000 /dev/zero; echo wrong >&2; exit 7")
    status = await received.end()
    assert status is not None
    assert (len(received.out), bytes(received.err), status.code) == (300_000, b"wrong\n", 7)


async def test_what_is_written_arrives_whole_and_then_eof(opened):
    stream, received = await opened("cat; echo done")
    for number in range(3):
        stream.write(bytes(range(256)) * 4096 + b"%d" % number)
    stream.close_stdin(5.0, pytest.fail)
    assert await received.end() == ExecStatus(0, "")
    assert bytes(received.out) == b"".join(bytes(range(256)) * 4096 + b"%d" % number for number in range(3)) + b"done\n"
    with pytest.raises(AgentGone):
        stream.write(b"more")


@pytest.mark.parametrize("server", [20], indirect=True)
async def test_a_server_that_cannot_end_stdin_alone_is_told_apart(opened):
    stream, received = await opened("cat")
    unserved = asyncio.Event()
    stream.write(b"all of it")
    stream.close_stdin(5.0, unserved.set)
    async with asyncio.timeout(15):
        await unserved.wait()
    await received.size(9)
    assert not stream.serves_eof
    assert not received.ended.done()


async def test_what_a_program_does_not_read_is_bounded(server, opened):
    stream, _ = await opened("echo up; sleep 100")
    with pytest.raises(AgentTimeout):  # noqa: PT012 - one of them is too much
        for _ in range(20):
            stream.write(b"x" * MIB)
            await asyncio.sleep(0)
    stream.close_stdin(0.0, pytest.fail)
    assert stream.backlog == 0
    server.streams.cut()


async def test_a_program_is_held_up_while_its_output_is_not_read(opened):
    stream, received = await opened("echo up; head -c 16000000 /dev/zero; echo all >&2")
    await received.size(3)
    stream.pause()
    before = len(received.out)
    result = asyncio.create_task(opened("exit 0"))
    await (await result)[1].end()
    assert len(received.out) == before
    assert not received.err, "16 MB do not fit into pipes and buffers"
    stream.resume()
    await received.size(16_000_003)
    assert (await received.end(), bytes(received.err)) == (ExecStatus(0, ""), b"all\n")


async def test_a_cut_is_no_success_and_has_no_status(server, opened):
    stream, received = await opened("echo up; sleep 100")
    await received.size(3)
    server.streams.cut()
    assert await received.end() is None
    with pytest.raises(AgentGone):
        stream.write(b"x")


async def test_a_stream_that_is_closed_reports_no_end(opened):
    stream, received = await opened("echo up; sleep 100")
    await received.size(3)
    await stream.aclose()
    await stream.aclose()
    assert not received.ended.done()


async def test_a_program_that_is_not_there_has_a_reason_and_no_code(pods):
    await pods.pod()
    received = Received()
    stream = await open_stream(await pods.exec_target("one", ("no-such-program",), stdin=False), received)
    status = await received.end()
    await stream.aclose()
    assert status is not None
    assert status.code is None
    assert "no-such-program" in status.message


async def test_a_peer_that_answers_no_ping_any_more_is_gone_where_the_program_always_reads(server, opened):
    stream, beat = await opened("echo up; cat", BeatStream, ping_seconds=0.02)
    _, agent = await opened("echo up; cat", ping_seconds=0.02)
    while not stream.answers_pings:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0)
    server.streams.stall(deaf=True)
    assert await beat.end() is None
    assert not agent.ended.done(), "what holds it up may be an agent that does not read"
    server.streams.cut()


async def test_who_refuses_and_who_does_not_answer_is_told_apart(server, pods, unused_tcp_port_factory):
    with pytest.raises(StreamRefused) as refused:
        await run_inside(pods, PodRef("no-such-pod", "", "default"), ("true",))
    assert refused.value.status == 404
    with pytest.raises(StreamUnreachable):
        await open_stream(ExecTarget(f"http://127.0.0.1:{unused_tcp_port_factory()}/", {}, None), Received())
    server.faults.fail(500, "*", "pods/exec")
    with pytest.raises(StreamRefused):
        await run_inside(pods, await pods.pod(), ("true",))


async def test_a_command_inside_comes_back_with_its_output(pods):
    pod = await pods.pod()
    output = await run_inside(pods, pod, ("sh", "-c", "echo out; echo err >&2; exit 3"))
    assert output == (3, b"out\n", b"err\n")
    with pytest.raises(CommandNotRun, match="does not answer"):
        await run_inside(pods, pod, ("sleep", "100"), seconds=0.2)
    with pytest.raises(CommandNotRun, match="too much"):
        await run_inside(pods, pod, ("head", "-c", "9000000", "/dev/zero"))
    with pytest.raises(CommandNotRun, match="no-such-program"):
        await run_inside(pods, pod, ("no-such-program",))
