"""What goes through stdin, stdout and stderr: whole, in order, and never more than fits."""

from __future__ import annotations

import asyncio

import pytest

from acpbot.errors import AgentGone, AgentTimeout
from tests.runtimes.conformance.scene import LIMIT

KIB, MIB = 1024, 1024 * 1024


@pytest.mark.parametrize("size", [64, KIB, 64 * KIB, MIB, 8 * MIB])
async def test_a_line_of_any_size_comes_back_as_it_was_sent(scene, size):
    agent = await scene.start()
    line = "echo " + "".join(chr(33 + number % 90) for number in range(997)) * (size // 997 + 1)
    line = line[: size - 1]
    assert await agent.ask(line) == line


async def test_many_lines_arrive_in_order_and_none_is_lost(scene):
    agent = await scene.start()
    agent.process.write(b"say 64 20000\n")
    await agent.sink.size(64 * 20_000)
    lines = bytes(agent.sink.data).splitlines()[:20_000]
    assert [int(line[:8]) for line in lines] == list(range(20_000))


async def test_requests_that_are_written_at_once_are_answered_in_order(scene):
    agent = await scene.start()
    for number in range(500):
        agent.process.write(b"echo %d\n" % number)
    assert [await agent.sink.line() for _ in range(500)] == [f"echo {number}" for number in range(500)]


async def test_all_output_is_delivered_before_the_exit_is_told(scene):
    agent = await scene.start()
    agent.process.write(b"exit 0 %d\n" % (3 * MIB))
    assert await agent.ended() == 0
    assert len(agent.sink.data) == 3 * MIB + 1


async def test_output_comes_apart_from_stderr(scene):
    agent = await scene.start()
    assert await agent.ask("stderr something went wrong") == "stderr"
    assert await agent.ask("exit 3 1") == "x"
    assert await agent.ended() == 3
    assert "something went wrong" in "\n".join(agent.process.stderr.lines())


async def test_an_agent_is_held_up_while_its_output_is_not_read(scene):
    agent = await scene.start()
    assert await agent.ask("echo 1") == "echo 1"
    agent.process.pause_reading()
    before = len(agent.sink.data)
    agent.process.write(b"say 65536 256\ntouch all-is-written\necho last\n")
    flag = scene.folder / agent.word / "workspace" / "all-is-written"
    # Another agent's whole start and end takes longer than the writes of one that nothing holds up.
    other = await scene.start()
    assert await other.ask("echo 2") == "echo 2"
    assert not flag.exists(), "16 MiB do not fit into pipes and buffers"
    assert len(agent.sink.data) == before
    agent.process.resume_reading()
    await agent.sink.size(256 * 65_536)
    del agent.sink.data[: 256 * 65_536]
    assert [await agent.sink.line() for _ in range(3)] == ["say", "touch", "echo last"]


async def test_what_an_agent_does_not_read_is_bounded(scene):
    agent = await scene.start()
    assert await agent.ask("deaf") == "deaf"
    with pytest.raises(AgentTimeout):  # noqa: PT012 - one of them is too much
        for _ in range(20):
            agent.process.write(b"x" * MIB)


async def test_an_agent_that_closes_its_stdout_still_runs(scene):
    agent = await scene.start()
    assert await agent.ask("close 1") == "closing"
    if scene.place.tells_eof:
        async with asyncio.timeout(LIMIT):
            await agent.sink.ended.wait()
    assert agent.process.alive is True
    assert agent.process.returncode is None
    agent.process.write(b"exit 4 1\n")
    assert await agent.ended() == 4


async def test_an_agent_that_ends_gets_no_more_lines(scene):
    agent = await scene.start()
    assert await agent.ask("exit 0 1") == "x"
    await agent.ended()
    with pytest.raises(AgentGone):
        agent.process.write(b"echo 1\n")


async def test_lines_that_were_written_before_eof_are_read(scene):
    agent = await scene.start()
    for number in range(100):
        agent.process.write(b"echo %d\n" % number)
    agent.process.close_stdin()
    assert await agent.ended() == 0
    assert bytes(agent.sink.data).split(b"\n")[99] == b"echo 99"
    with pytest.raises(AgentGone):
        agent.process.write(b"echo 1\n")
