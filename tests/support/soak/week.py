"""A week in Discord on a clock that is set forward: what acpbot has of tasks, descriptors, rows and objects stays flat.

The pool, its store, the chat, discord.py and the agents are real; Discord is the one on loopback. Each day begins new
threads and goes on with those of the day before, so that sessions are evicted for others, expire, and are resumed;
conversations are forgotten after two days. The gateway is cut within answers and forgets its session, the settings are
read again, the chat is restarted, and every third day the bot's token is replaced.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from acpbot.errors import ConfigError
from acpbot.storage.store import Store
from tests.support.discord_scene import Scene, staged
from tests.support.pool_restarts import rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.discord.state import Channel, Message

HOUR = 3600.0
FORGOTTEN_HOURS = 48.0
STEADY_DAYS = 3
"""From then on a day leaves as much as it found: the conversations of its third day before are forgotten."""
SESSIONS = 3
LIMIT = 60.0
SPARE = {"descriptors": 4, "tasks": 2, "processes": 0, "objects": 60}
"""What may be there by chance at a midnight: a connection of the HTTP client that is kept, a timer."""
OBJECTS_OF_A_THREAD = 4
"""That the bot has taken part in a thread is known for as long as 50,000 others are not newer."""


class Week:
    """Days in one scene; ``size``: how many threads each day begins. ``wrong``: what was not as it should be."""

    def __init__(self, scene: Scene, store: Store, path: Path, size: int) -> None:
        self.scene = scene
        self.store = store
        self.path = path
        self.size = size
        self.threads: list[Channel] = []
        self.wrong: list[str] = []
        self.midnights: list[dict[str, int]] = []
        self.turns = self.evicted = self.resumed = 0
        self.tokens = 0
        self._ends: Counter[str] = Counter()

    async def day(self) -> None:
        """Let a day go by, and note what there is at its end."""
        day = len(self.midnights)
        await self.morning()
        await self.pass_hours(2)
        await self.cut_in_an_answer(forgotten=day % 2 == 1)
        await self.read_settings_again(day)
        await self.pass_hours(4)
        await self.talk([*self.threads[-self.size :], *self.threads[-2 * self.size : -self.size]])
        if day % STEADY_DAYS == 1:
            await self.replace_token()
        else:
            await self.scene.restart()
        await self.pass_hours(18)
        await self.scene.chat.outbox.flush(LIMIT)
        self.midnights.append(await self.state())

    async def morning(self) -> None:
        """Somebody begins new threads, all at once: more than there may be sessions."""
        asked = []
        for _ in range(self.size):
            self.turns += 1
            asked.append((self.scene.asks(f"stream 5; say turn {self.turns} is over"), f"turn {self.turns} is over"))
        for message, words in asked:
            thread = await self._thread_of(message)
            self.threads.append(thread)
            await self.answered(thread, words)

    async def _thread_of(self, message: Message) -> Channel:
        await self.scene.server.wait_for(lambda: message.thread, seconds=LIMIT, what="a thread")
        assert message.thread is not None
        return message.thread

    async def talk(self, threads: list[Channel]) -> None:
        """Somebody goes on in these threads, all at once."""
        asked = []
        for thread in threads:
            self.turns += 1
            words = f"turn {self.turns} is over"
            self.resumed += self.scene.pool.get(str(thread.id)) is None
            self.scene.ada.says(thread, f"say {words}")
            asked.append((thread, words))
        for thread, words in asked:
            await self.answered(thread, words)

    async def answered(self, thread: Channel, words: str) -> None:
        """Wait for the answer, and for the end of its turn; it must be there once."""
        await self.scene.says(thread, words, seconds=LIMIT)
        await self.scene.server.wait_for(self._at_rest, seconds=LIMIT, what="the ends of the turns")
        await self.scene.chat.outbox.flush(LIMIT)
        if (times := self.scene.text(thread).count(words)) != 1:
            self.wrong.append(f"{words!r} is {times} times in its thread")

    def _at_rest(self) -> bool:
        counts = self.scene.pool.counts()
        return not (counts.busy or counts.waiting or counts.starting or counts.queued)

    async def cut_in_an_answer(self, *, forgotten: bool) -> None:
        """The gateway is cut within an answer. ``forgotten``: and comes back without the session."""
        thread = self.threads[-1]
        self.turns += 1
        words = f"turn {self.turns} is over"
        self.scene.ada.says(thread, f"stream 20; say {words}")
        await self.scene.server.wait_for(lambda: self.scene.pool.get(str(thread.id)), seconds=LIMIT, what="a session")
        self.scene.server.gateway.cut()
        if forgotten:
            self.scene.server.gateway.expire()
        await self.scene.server.wait_until_connected(seconds=LIMIT)
        await self.answered(thread, words)

    async def read_settings_again(self, day: int) -> None:
        self.scene.harness.reload(idle_timeout_seconds=1800 + day, max_queued=10 + day % 2)
        changed = msgspec.structs.replace(self.scene.settings.pool, max_queued=10 + day % 2)
        self.scene.settings = msgspec.structs.replace(self.scene.settings, pool=changed)
        self.scene.chat.reconfigure(self.scene.settings)
        await self.talk(self.threads[-1:])

    async def replace_token(self) -> None:
        """The old token opens nothing any more: the chat ends by that, and is started with the new one."""
        server, scene = self.scene.server, self.scene
        self.tokens += 1
        server.token = server.rest.token = server.gateway.token = f"another.token.{self.tokens}"
        await server.gateway.close(4004)
        try:
            assert scene.task is not None
            await asyncio.wait_for(scene.task, LIMIT)
            self.wrong.append("the chat went on with a token that Discord refuses")
        except ConfigError:
            scene.task = None
        assert scene.settings.discord is not None
        discord = msgspec.structs.replace(scene.settings.discord, bot_token=server.token)
        scene.settings = msgspec.structs.replace(scene.settings, discord=discord)
        await scene.restart()

    async def pass_hours(self, hours: int) -> None:
        """Set the clocks forward, an hour at a time; sessions that are idle for too long end."""
        for _ in range(hours):
            self.scene.clock.ahead += HOUR
            self.scene.harness.clock.move(HOUR)
            self.scene.pool.tick()
            await self.scene.server.wait_for(
                lambda: not self.scene.pool.sessions(), seconds=LIMIT, what="the ends of the idle sessions"
            )
            await self.scene.pool.sample()  # as the daemon does every two seconds

    async def state(self) -> dict[str, int]:
        """What could leak, counted now."""
        await self.store.durable()
        return self._count()

    def _count(self) -> dict[str, int]:
        gc.collect()
        own = sum(str(type(one).__module__).startswith("acpbot.") for one in gc.get_objects())
        tables = ("threads", "turns", "posts", "places", "known_threads")
        return {
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "tasks": len(asyncio.all_tasks()),
            "objects": own,
            "processes": sum(_parent(entry) == os.getpid() for entry in Path("/proc").iterdir()),
            **{table: len(rows(self.path, table)) for table in tables},
        }

    def judge(self) -> list[str]:
        """Return what was wrong, and what has grown between the first steady midnight and the last."""
        found = list(self.wrong)
        first, last = self.midnights[min(STEADY_DAYS, len(self.midnights)) - 1], self.midnights[-1]
        new = last["known_threads"] - first["known_threads"]
        for key, spare in SPARE.items():
            allowed = first[key] + spare + (OBJECTS_OF_A_THREAD * new if key == "objects" else 0)
            if last[key] > allowed:
                found.append(f"{key}: {first[key]}, then {last[key]}")
        for key in ("turns", "posts", "places"):
            found += [f"{key}: {one[key]} are left" for one in self.midnights if one[key]]
        most = self.size * (FORGOTTEN_HOURS / 24 + 1)
        found += [f"threads: {one['threads']} are known" for one in self.midnights if one["threads"] > most]
        if last["known_threads"] != len(self.threads):
            found.append(f"known threads: {last['known_threads']} of {len(self.threads)}")
        return found


def _parent(entry: Path) -> int:
    """Return the parent of a process in /proc; 0 where it is none, or has ended.

    Only a process that owns all of its children, as the daemon does, reaps those that come to it when the spawn server
    is replaced: here they stay as zombies.
    """
    try:
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2] if entry.name.isdigit() else "Z0"
    except OSError:
        return 0
    return 0 if state == "Z" else int(parent)


@asynccontextmanager
async def week(folder: Path, *, size: int) -> AsyncIterator[Week]:
    """A scene whose pool has few places, on a store of its own."""
    path = folder / "week.sqlite3"
    store = Store.open(path)
    limits = {
        "store": store,
        "max_sessions": SESSIONS,
        "idle_timeout_seconds": 1800,
        "session_ttl_hours": FORGOTTEN_HOURS,
    }
    try:
        async with staged(folder, limits=limits) as scene:
            yield Week(scene, store, path, size)
    finally:
        await asyncio.to_thread(store.close)
