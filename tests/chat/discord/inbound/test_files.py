"""Files that people attach, on their way to the agent: what is fetched, how much of it, what is said of the rest."""

from __future__ import annotations

import asyncio
import gzip
import io
import zipfile

import pytest
from aiohttp import web

from acpbot.aio import Backoff
from acpbot.chat.discord.inbound import download
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

MIB = 1024 * 1024


async def received(scene: Scene, files: dict[str, bytes | str], change=lambda _message: None) -> str:
    """The text of the thread once the agent has listed what it got of these files."""
    change(scene.asks("what", attachments=files))
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.idle(thread, 1)
    return scene.text(thread)


async def test_a_file_of_30_mb_is_not_requested(scene: Scene):
    text = await received(scene, {"dump.txt": b"x" * 30 * MIB, "notes.txt": "the milk"})
    assert "Skipped `dump.txt`: it's 30 MiB; the limit is 8 MiB." in text
    assert "resource attachment:///notes.txt, text/plain, 8 characters" in text
    assert len(scene.server.requests_to("GET", rest.CDN)) == 1


async def test_of_20_files_ten_are_passed_on_and_the_others_are_named(scene: Scene):
    text = await received(scene, {f"part-{number:02d}.txt": f"part {number}" for number in range(20)})
    for number in range(20):
        taken = f"attachment:///part-{number:02d}.txt" in text
        refused = f"`part-{number:02d}.txt`" in text
        assert (taken, refused) == (number < 10, number >= 10)
    assert text.count("I take at most 10 files per message.") == 1


def zipped(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", data)
    return made.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, zipped])
async def test_a_compressed_file_announced_as_text_is_not_decompressed(scene: Scene, pack):
    text = await received(scene, {"notes.txt": pack(b"\0" * 40 * MIB)})
    assert "Skipped `notes.txt`: I can only read images and text files" in text
    assert "attachment:///" not in text


async def test_a_text_that_the_server_compresses_is_not_decompressed(scene: Scene):
    def pack(message) -> None:
        message.attachments[0].packed = True

    text = await received(scene, {"notes.txt": b" " * 7 * MIB}, pack)
    assert "Skipped `notes.txt`: I couldn't download it." in text


async def test_a_file_larger_than_announced_is_not_passed_on(scene: Scene):
    def grow(message) -> None:
        message.attachments[0].data = b"x" * 9 * MIB

    text = await received(scene, {"notes.txt": "small"}, grow)
    assert "Skipped `notes.txt`: it's larger than 8 MiB." in text


async def test_a_long_text_is_cut_and_says_so(scene: Scene):
    text = await received(scene, {"log.txt": "line\n" * 100_000})
    assert "The agent gets only the first 256 KiB of 488.3 KiB of `log.txt`." in text
    assert "resource attachment:///log.txt, text/plain, 2622" in text


@pytest.mark.parametrize(("status", "times", "words"), [(503, 2, ""), (503, 9, "couldn't"), (404, 1, "couldn't")])
async def test_a_failed_download_is_tried_again_and_reported_in_the_end(scene: Scene, status, times, words):
    scene.server.faults.status(status, "GET", rest.CDN, times=times)
    text = await received(scene, {"notes.txt": "the milk"})
    assert ("attachment:///notes.txt" in text) == (not words)
    assert ("couldn't download it" in text) == bool(words)
    assert words in text
    assert "http://" not in text


async def test_files_are_not_passed_on_where_the_limit_is_zero(tmp_path):
    async with staged(tmp_path, max_attachment_bytes=0) as scene:
        assert "Skipped `notes.txt`: I can't take files here." in await received(scene, {"notes.txt": "x"})


async def test_the_download_of_an_endless_file_stops_at_the_limit(unused_tcp_port):
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 100_000)

    app = web.Application()
    app.router.add_get("/file", endless)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    try:
        fetched = download.fetch(f"http://127.0.0.1:{unused_tcp_port}/file", MIB, Backoff(first=0, most=0))
        data = await asyncio.wait_for(fetched, 5)
    finally:
        await runner.cleanup()
    assert MIB < len(data) < 2 * MIB
