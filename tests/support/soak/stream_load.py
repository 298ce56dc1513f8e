"""Many sessions that stream at once, through the loopback Discord and the local chat: nothing is lost, all is flat."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks.bench_streams import Streams
from tests.benchmarks.rows import percentile
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess
from tests.fakes.discord.people import is_system
from tests.soak import soak_turns

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.discord.people import Author
    from tests.fakes.discord.server import DiscordServer
    from tests.fakes.discord.state import Channel, Message

PACE = 0.1
CHUNKS = 150
WORD = re.compile(r"\d{4}")
THREADS_OF_A_CHANNEL = 50
LIMIT = 900.0
CONNECTIONS = 24
"""So many may the HTTP client keep for a while, for requests to come."""
GROWTH_KIB_OF_A_SESSION = 8
"""So much more memory may a session take after its second answer than after its first."""


def answer(chunks: int) -> list[str]:
    """Return the words of an answer, each of which is a chunk."""
    return [f"{number:04d}" for number in range(chunks)]


def grown(marks: list[dict[str, int]], sessions: int) -> list[str]:
    """Return what is more after the last round than after the first. ``marks``: as of `soak_turns.state`."""
    more = {
        "rss_kib": soak_turns.GROWTH_KIB + GROWTH_KIB_OF_A_SESSION * sessions,
        "fds": soak_turns.SPARE + CONNECTIONS,
        "threads": soak_turns.SPARE,
    }
    first, last = marks[0], marks[-1]
    return [f"{key}: {first[key]}, then {last[key]}" for key, most in more.items() if last[key] - first[key] > most]


def local(folder: Path, sessions: int, rounds: int, chunks: int = CHUNKS) -> list[str]:
    """Have so many sessions of the local chat stream, so many times; what was wrong."""
    streams = Streams(folder, sessions)
    try:
        marks, wrong, found = [], [], []
        for _ in range(rounds):
            found.append(streams.stream(chunks))
            wrong += [f"{thread}: something is lost or out of order" for thread in found[-1].bad]
            marks.append(soak_turns.state(streams.daemon))
    finally:
        samples = streams.close()
    for one, mark in zip(found, marks, strict=True):
        own = [(sample.late - sample.waited) * 1000 for sample in samples if one.began <= sample.due <= one.ended]
        words = f"{sessions} sessions of the local chat in {one.ended - one.began:.0f} s, {mark}"
        print(f"{words}; lag p99 {percentile(own, 99):.1f} ms without missing CPU", flush=True)
    return wrong + grown(marks, sessions)


class DiscordLoad:
    """A daemon at a Discord, and one person who writes in so many threads of it at once."""

    def __init__(self, server: DiscordServer, folder: Path, sessions: int, chunks: int = CHUNKS) -> None:
        self.server = server
        self.folder = folder
        self.sessions = sessions
        self.chunks = chunks
        self.guild = server.make_guild("home")
        self.ada: Author = server.make_user("ada", self.guild)
        self.threads: list[Channel] = []
        self.wrong: list[str] = []

    def config(self) -> str:
        discord: dict[str, Any] = {
            "bot_token": self.server.token,
            "api_base": self.server.api_base,
            "gateway_url": self.server.gateway_url,
            "allow_all_channels": True,
            "allowed_users": [str(self.ada.id)],
            "allow_user_messages": "involved",
        }
        table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in discord.items())
        pool = f"[pool]\nmax_sessions = {self.sessions}\n"
        return f'{DEMO_AGENT}env = {{ ACPBOT_DEMO_PACE = "{PACE}" }}\n[discord]\n{table}{pool}'

    async def run(self, rounds: int) -> list[str]:
        """Have them stream so many times; what was wrong."""
        daemon = await asyncio.to_thread(DaemonProcess, self.folder, self.config())
        try:
            await self.server.wait_until_connected(seconds=LIMIT)
            marks: list[dict[str, int]] = []
            for number in range(rounds):
                began, before = time.monotonic(), len(self.server.requests)
                await self.round(new=number == 0)
                marks.append(await asyncio.to_thread(soak_turns.state, daemon))
                requests = len(self.server.requests) - before
                words = f"{self.sessions} threads of Discord in {time.monotonic() - began:.0f} s, {requests} requests"
                print(f"{words}, {len(self.server.answered_429)} of 429, {marks[-1]}", flush=True)
            self.wrong += grown(marks, self.sessions)
            self.wrong += [f"429: {call!r}" for call in self.server.answered_429[:5]]
            self.wrong += [f"not served: {call!r}" for call in self.server.unserved[:5]]
            if await asyncio.to_thread(daemon.stop, seconds=LIMIT) != 0 or "Traceback" in daemon.log.read_text():
                self.wrong.append(f"the daemon did not end well: {daemon.log.read_text()[-2000:]}")
        finally:
            await asyncio.to_thread(daemon.close)
        return self.wrong

    async def round(self, *, new: bool) -> None:
        """One answer in each thread, all at once."""
        if new:
            count = -(-self.sessions // THREADS_OF_A_CHANNEL)
            channels = [self.server.make_channel(self.guild, f"general-{number}") for number in range(count)]
            places = [channels[number % count] for number in range(self.sessions)]
        else:
            places = self.threads
        asked = [
            self.ada.says(place, f"say {' '.join(answer(self.chunks))}", mentions=[self.server.bot]) for place in places
        ]
        await asyncio.gather(*(self._answered(message) for message in asked))
        if new:
            self.threads = [message.thread for message in asked if message.thread is not None]

    async def _answered(self, message: Message) -> None:
        """Wait until the answer holds its last line, and compare the whole."""
        wanted = answer(self.chunks)

        def shown() -> list[str]:
            place = message.thread or message.channel
            mine = self.server.messages_in(place, by=self.server.bot)
            bodies = [one for one in mine if one.id > message.id and not is_system(one) and not one.deleted]
            return [word for one in bodies for word in one.content.split() if WORD.fullmatch(word)]

        deadline = time.monotonic() + LIMIT
        # Not at every change: there are thousands, and as many of these as there are threads.
        while wanted[-1] not in (found := shown()):
            if time.monotonic() > deadline:
                self.wrong.append(
                    f"in #{message.channel.name[:40]}: {len(found)} of {len(wanted)} words after {LIMIT:.0f} s"
                )
                return
            await asyncio.sleep(0.5)
        if found != wanted:
            self.wrong.append(
                f"in #{message.channel.name[:40]}: {len(found)} of {len(wanted)} words, or not in their order"
            )
