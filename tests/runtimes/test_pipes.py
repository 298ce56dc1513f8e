"""The stderr ring, and pipes on the event loop."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import io
import os
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.errors import AgentGone, AgentTimeout
from acpbot.runtimes.pipes import PipeReader, PipeWriter, StderrRing, check_backlog
from tests.support.launched_agents import LIMIT, Sink


def ring_of(*chunks: bytes, **options) -> StderrRing:
    ring = StderrRing(**options)
    for chunk in chunks:
        ring.feed(chunk)
    return ring


def test_stderr_keeps_the_last_200_lines_with_the_unfinished_one():
    ring = ring_of(*(b"line %d\n" % number for number in range(500)), b"unfin")
    lines = ring.lines()
    assert len(lines) == 200
    assert lines[-2:] == ["line 499", "unfin"]
    assert lines[0] == "line 301"


@given(st.lists(st.sampled_from(["a", "bc", "\n", "\n\n", "é", "x" * 40]), max_size=60), st.integers(1, 9))
def test_stderr_lines_do_not_depend_on_how_the_data_is_split(words, size):
    data = "".join(words).encode()
    whole = ring_of(data, limit=7, width=30).lines()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert ring_of(*pieces, limit=7, width=30).lines() == whole
    expected = "".join(words).split("\n")
    if not expected[-1]:
        expected.pop()
    assert whole == [line[:30] for line in expected[-7:]]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[1;31merror\x1b[0m: no\x07", "error: no"),
        (b"\x1b]8;;https://x\x1b\\link\x1b]8;;\x07", "link"),
        (b"\x1bPq#0\x1b\\sixel", "sixel"),
        (b"\x1b(Bcharset\x1b7\x1b=", "charset"),
        (b"cut \x1b[3", "cut "),
        (b"cut \x1b]0;title", "cut 0;title"),
        (b"tab\there\r", "tab here"),
        (b" 10%\r 50%\r100% done", "100% done"),
        (b"\xff\xfebad \xe2\x82 utf", "��bad � utf"),
        ("c1 \x9b31mred \x85 \u2028 bidi \u202egnp".encode(), "c1 red     bidi gnp"),
        (b"nul\0byte\x08", "nulbyte"),
    ],
)
def test_a_stderr_line_is_plain_text(raw, shown):
    assert ring_of(raw + b"\n").lines() == [shown]
    assert ring_of(raw).lines() == [shown]


def test_a_stderr_line_is_cut_at_2000_characters_never_inside_one():
    assert ring_of("€".encode() * 3_000 + b"\nnext\n").lines() == ["€" * 2_000, "next"]


def test_an_endless_line_and_an_endless_progress_bar_use_bounded_memory():
    ring = StderrRing()
    for _ in range(200):
        ring.feed(b"y" * 50_000)
    assert len(ring._partial) <= 8_000
    assert ring.lines() == ["y" * 2_000]
    ring = StderrRing()
    for percent in range(100_000):
        ring.feed(b"%d%%\r" % percent)
    assert ring.lines() == ["99999%"]
    assert len(ring._partial) <= 8_000


def test_of_a_burst_the_last_lines_are_kept():
    ring = ring_of(b"begin", b"".join(b"%d\n" % number for number in range(100_000)))
    assert ring.lines() == [str(number) for number in range(99_800, 100_000)]


def test_a_listener_gets_each_line_once():
    received: list[list[str]] = []
    ring = StderrRing(limit=3)
    ring.listener = received.append
    ring.feed(b"on")
    assert received == []
    ring.feed(b"e\ntwo\n\x1b[1mthr")
    ring.feed(b"ee\n1\n2\n3\n4\n5\n")
    assert received == [["one", "two"], ["3", "4", "5"]]


@contextlib.asynccontextmanager
async def writer_of(**options):
    read, write = os.pipe()
    writer = PipeWriter(asyncio.get_running_loop(), io.FileIO(write, "w"), **options)
    try:
        yield writer, read
    finally:
        writer.close(0.0)
        with contextlib.suppress(OSError):
            os.close(read)


def write_on(writer: PipeWriter, data: bytes) -> None:
    for _ in range(100):
        writer.write(data)


async def queue_is_empty(writer: PipeWriter) -> None:
    async with asyncio.timeout(LIMIT):
        while writer.backlog:  # noqa: ASYNC110 - the writer needs no event for anybody but this
            await asyncio.sleep(0)


async def read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:  # noqa: ASYNC230 - a descriptor, read in a thread
        return await asyncio.wait_for(asyncio.to_thread(file.read), LIMIT)


async def test_data_arrives_in_order_however_slow_the_reader_is():
    async with writer_of() as (writer, read):
        messages = [b"%d " % number * 5_000 for number in range(60)]
        for message in messages:
            writer.write(message)
        assert 0 < writer.backlog < sum(map(len, messages))
        writer.close(flush_seconds=LIMIT)
        assert await read_all(read) == b"".join(messages)
        assert writer.backlog == 0


async def test_write_raises_where_the_reader_does_not_read():
    async with writer_of(max_backlog=200_000) as (writer, _read):
        with pytest.raises(AgentTimeout, match=r"cannot write to the agent: it has not read its stdin, \d+ bytes"):
            write_on(writer, b"x" * 50_000)
        assert writer.backlog <= 200_000


@pytest.mark.parametrize(
    ("waiting", "size", "is_refused"), [(0, 11, False), (4, 6, False), (4, 7, True), (1, 10, True)]
)
def test_a_backlog_may_reach_its_limit_and_not_pass_it(waiting, size, is_refused):
    with pytest.raises(AgentTimeout) if is_refused else contextlib.nullcontext():
        check_backlog(waiting, size, 10)


async def test_the_backlog_is_what_was_written_without_what_the_pipe_took():
    async with writer_of() as (writer, read):
        holds = fcntl.fcntl(read, fcntl.F_GETPIPE_SZ)
        writer.write(b"x" * holds)
        assert writer.backlog == 0
        writer.write(b"y" * 1_000)
        writer.write(b"z" * holds)
        assert writer.backlog == 1_000 + holds
        taken = len(os.read(read, holds))
        async with asyncio.timeout(LIMIT):
            while writer.backlog == 1_000 + holds:  # noqa: ASYNC110 - the writer needs no event for anybody but this
                await asyncio.sleep(0)
        unread = array.array("i", [0])
        fcntl.ioctl(read, termios.FIONREAD, unread)
        assert taken + unread[0] + writer.backlog == 1_000 + 2 * holds
        writer.close(0.0)
        assert writer.backlog == 0


async def test_one_message_over_the_limit_is_accepted_while_the_queue_is_empty():
    async with writer_of(max_backlog=100_000) as (writer, read):
        writer.write(b"z" * 3_000_000)
        with pytest.raises(AgentTimeout):
            writer.write(b"!")
        writer.close(flush_seconds=LIMIT)
        assert len(await read_all(read)) == 3_000_000


async def test_close_drops_what_is_not_read_in_time():
    async with writer_of() as (writer, read):
        writer.write(b"x" * 500_000)
        writer.close(flush_seconds=0.01)
        with pytest.raises(AgentGone, match="stdin is closed"):
            writer.write(b"more")
        await queue_is_empty(writer)
        assert 0 < len(await read_all(read)) < 500_000


async def test_a_closed_reader_is_noticed_by_write_or_while_flushing():
    async with writer_of() as (writer, read):
        os.close(read)
        with pytest.raises(AgentGone, match="it has closed its stdin"):
            writer.write(b"hello")
    async with writer_of() as (writer, read):
        writer.write(b"x" * 500_000)
        os.close(read)
        await queue_is_empty(writer)
        with pytest.raises(AgentGone):
            writer.write(b"hello")


async def test_a_paused_reader_leaves_data_in_the_pipe():
    read, write = os.pipe()
    os.set_blocking(write, False)
    sink = Sink()
    reader = PipeReader(asyncio.get_running_loop(), io.FileIO(read, "r"), sink.data_received, sink.eof)
    os.write(write, b"one\n")
    assert await sink.line() == "one"
    reader.pause()
    os.write(write, b"two\n")
    reader.drain()
    await asyncio.sleep(0)
    assert not sink.data
    reader.resume()
    reader.drain()
    assert bytes(sink.data) == b"two\n"
    os.close(write)
    await asyncio.wait_for(sink.ended.wait(), LIMIT)
    reader.resume()
    reader.close()


async def test_a_reader_whose_data_can_t_be_handled_ends_the_stream(caplog):
    read, write = os.pipe()
    ended = asyncio.Event()

    def fail(_: bytes) -> None:
        raise RuntimeError

    PipeReader(asyncio.get_running_loop(), io.FileIO(read, "r"), fail, ended.set)
    os.write(write, b"one\n")
    await asyncio.wait_for(ended.wait(), LIMIT)
    os.close(write)
    assert "pipe_reader_failed" in caplog.messages


async def test_a_closed_reader_calls_nothing_more():
    read, write = os.pipe()
    sink = Sink()
    reader = PipeReader(asyncio.get_running_loop(), io.FileIO(read, "r"), sink.data_received, sink.eof)
    reader.close()
    reader.close()
    reader.resume()
    with pytest.raises(BrokenPipeError):
        os.write(write, b"x")
    os.close(write)
    assert not sink.ended.is_set()
