"""The crash campaign: a daemon under load is ended at any moment and started again, and nothing may be lost by it.

People write into threads of a Discord on loopback; the agent is the demo agent, whose complete answers are known. Each
cycle ends the daemon once or twice, writes meanwhile, starts it again on the same folder, and waits until it has
settled: every prompt must then be answered or told to be interrupted, once, in order, by a daemon that has left no
process behind. Everything is looked at from outside: Discord, /proc, the database file, and a file that tools write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from tests.fakes.daemon import DEMO_AGENT
from tests.support.soak import leftovers
from tests.support.soak.daemon_runs import GRACE_SECONDS, Ending, Life, Moment, at, cancelled
from tests.support.soak.people import People
from tests.support.soak.tally import Tally
from tests.support.soak.transcripts import Finding, Thread, by_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from tests.fakes.discord.server import DiscordServer
    from tests.support.soak.prompts import Prompt

STOP_SECONDS = 2.0
"""What a stop may take beyond the drain and one grace."""

_LASTING = ("answered twice", "run twice", "said twice", "asked twice", "out of order")
"""What can become so after its cycle was judged; each cycle says for itself what is lost."""


class Campaign:
    """One folder, one Discord, one life after the other.

    ``size``: how many threads are in use at a time. ``patience``: seconds that a daemon has to settle.
    ``answer_seconds``: so long Discord waits for the first answer to an interaction. ``reactions``: a third of all
    requests. What a cycle does is made of the seed and its number by chance. What must not be is told to ``tell``, and
    goes to ``findings``.
    """

    def __init__(
        self,
        server: DiscordServer,
        folder: Path,
        *,
        seed: int = 1,
        size: int = 8,
        patience: float = 10.0,
        answer_seconds: float = 3.0,
        reactions: bool = True,
        tell: Callable[[Finding], None] = lambda _finding: None,
    ) -> None:
        self.server = server
        self.folder = folder
        self.store = folder / "store.sqlite3"
        self.seed = seed
        self.patience = patience
        self.answer_seconds = answer_seconds
        self.reactions = reactions
        self.tally = Tally()
        self.people = People(server, self.tally, size=size)
        self.findings: list[Finding] = []
        self._tell = tell
        self._known: set[Finding] = set()
        self._life: Life | None = None
        self._ending = Ending(signal.SIGKILL, Moment("rest"))
        self._dead: dict[tuple[int, int], set[str]] = {}
        self._sessions: set[str] = set()
        self._fits: list[Prompt] = []
        self._story: list[str] = []
        self._clicker: asyncio.Task[None] | None = None

    # From beginning to end.

    async def __aenter__(self) -> Self:
        self._clicker = asyncio.create_task(self.people.click_for_ever(), name="clicks")
        self._plan(0)
        await self._begin()
        await self._connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._clicker is not None:
            self._clicker.cancel()
            await asyncio.gather(self._clicker, return_exceptions=True)
        if self._life is not None:
            await asyncio.to_thread(self._life.daemon.close)

    async def calm(self) -> None:
        """A cycle in which nothing ends."""
        self._plan(self.tally.cycles)
        scripts = self.people.load()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.people.loaded(scripts), self.patience)
        await cancelled(scripts)
        await self._settle_and_judge()

    async def crash(self) -> None:
        """A cycle in which the daemon ends and comes back."""
        await self._end(self._ending, self.people.load())
        self.people.write_down()
        self._plan(self.tally.cycles + 1)
        if self.people.chance.random() < 0.2:
            await self._end_early()
        await self._begin(writes=True)
        await self._connected()
        for one in await self.people.press_dead(lambda number: self._runs()[number], self.answer_seconds):
            self._find("dead button", f"no answer within {self.answer_seconds} s: {one!r}")
        await self._settle_and_judge()

    async def finish(self) -> None:
        """Stop the daemon, which has nothing to do; then look at everything once more."""
        await self._end(Ending(signal.SIGTERM, Moment("rest"), self._ending.drain_seconds), [])
        await self._look_for_strays("after the last stop")
        for thread, prompts in by_thread(self.people.all).items():
            if thread is not None:
                view = Thread(self.people.reader.pages(thread), prompts, ends=self.tally.kills + self.tally.stops)
                self._report(one for one in view.check() if one.kind in _LASTING and one not in self._known)
                self.tally.stale_notes += len(view.notes)
        log = (self.folder / "daemon.log").read_text()
        if "Traceback" in log:
            self._find("traceback", log[log.index("Traceback") :][:2000])

    def _plan(self, cycle: int) -> None:
        """Decide how the next life ends: its drain is a part of its configuration."""
        chance = self.people.chance = random.Random(f"{self.seed}/{cycle}")  # noqa: S311 - it chooses what a test does
        self._ending = Ending.any(chance, calls=25 * self.people.size)
        # A question that nobody answers fits into no drain.
        self.people.brief = self._ending.roomy

    def _find(self, kind: str, what: str) -> None:
        self._report([Finding(kind, what)])

    def _report(self, findings: Iterable[Finding]) -> None:
        """Note them, with what happened in this cycle."""
        story = "; ".join(self._story)
        for finding in findings:
            self._known.add(finding)
            told = Finding(finding.kind, f"cycle {self.tally.cycles} ({story}): {finding.what}")
            self.findings.append(told)
            self._tell(told)

    # Lives.

    def _config(self) -> str:
        server = self.server
        tables = {
            "discord": {
                "bot_token": server.token,
                "allowed_users": [str(self.people.ada.id)],
                "api_base": server.api_base,
                "gateway_url": server.gateway_url,
            },
            "pool": {"grace_seconds": GRACE_SECONDS, "max_sessions": 4 * self.people.size, "max_queued": 100},
            "permissions": {"timeout_seconds": 600},
            "shutdown": {"drain_seconds": self._ending.drain_seconds},
            "store": {"path": str(self.store)},
            "reactions": {"enabled": self.reactions},
        }
        lines = [DEMO_AGENT, 'env = { ACPBOT_DEMO_PACE = "0.01" }']
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        return "\n".join([*lines, ""])

    async def _start(self) -> Life:
        self.people.life += 1
        self._life = await Life.begin(self.folder, self._config())
        self.people.alive = True
        return self._life

    async def _begin(self, *, writes: bool = False) -> None:
        """Start a life and wait until it is ready: what the ones before left must be gone by then."""
        writing = asyncio.create_task(self.people.write_while_starting()) if writes else None
        life = await self._start()
        self.tally.seconds["ready"].append(await life.ready())
        await self._look_for_strays("when ready")
        if writing is not None:
            await asyncio.wait_for(writing, self.patience)

    async def _connected(self) -> None:
        await self.server.wait_until_connected(seconds=self.patience)
        if self._life is not None:
            self.tally.seconds["connected"].append(time.monotonic() - self._life.began)

    async def _end_early(self) -> None:
        """One more life, which is killed while it starts or recovers."""
        await self._start()
        self.tally.early += 1
        calls = self.people.chance.choice([5, 20, 10 * self.people.size])
        moment = Moment.any(self.people.chance, calls=calls, recovering=True)
        await self._end(Ending(signal.SIGKILL, moment), [], over=self.people.settled())
        self.people.write_down()

    async def _end(
        self, ending: Ending, scripts: list[asyncio.Task[None]], *, over: Awaitable[None] | None = None
    ) -> None:
        """End the life at its moment, or once ``over`` returns, and look at what it leaves."""
        life = self._life
        if life is None:
            raise AssertionError("there is no life to end")
        self._story.append(str(ending))
        self.tally.moments[ending.moment.kind] += 1
        async with at(self.server, ending.moment, over or self.people.loaded(scripts), self.patience):
            work = self.people.open()
            if ending.roomy:
                self._fits += [one for one in work if self.people.begun(one) and one.click != "never"]
            life.signal(ending.signum)
            await cancelled(scripts)
            if ending.signum == signal.SIGKILL:
                await life.ended(self.patience)
        if ending.signum == signal.SIGKILL:
            self.tally.kills += 1
        else:
            self.tally.stops += 1
            await self._stopped(life, ending, working=bool(work))
        self._life, self.people.alive = None, False
        self.people.ends += 1
        await self._buried(life)

    async def _stopped(self, life: Life, ending: Ending, *, working: bool) -> None:
        """SIGTERM was sent: it ends in time, and with status 0."""
        since = time.monotonic()
        bound = GRACE_SECONDS + STOP_SECONDS + (ending.drain_seconds if working else 0)
        people = self.people
        if working and people.chance.random() < 0.4:
            people.write(people.chance.choice(people.threads or [people.channel]))
        if ending.cut is not None:
            async with at(self.server, ending.cut, life.over(bound), bound):
                life.signal(signal.SIGKILL)
        status = await life.ended(bound + self.patience)
        seconds = time.monotonic() - since
        if ending.cut is not None and status == -signal.SIGKILL:
            self.tally.cut += 1
            return
        self.tally.seconds["stop"].append(seconds)
        if seconds > bound:
            self._find("slow stop", f"{seconds:.1f} s, where {bound:.1f} s are enough")
        if status:
            self._find("exit status", f"{status} after SIGTERM")

    async def _buried(self, life: Life) -> None:
        """Note what is left of a life, once Discord has seen the last of it."""
        left = [one for one in await asyncio.to_thread(leftovers.marked) if one.daemon == life.key]
        self.tally.left_behind += len(left)
        self._dead[life.key] = self._sessions | {one.session for one in left}
        await self.server.wait_for(self._hung_up, what="the end of the dead daemon's connections")
        self.server.gateway.expire()
        self.tally.requests += len(self.server.requests)
        self.tally.rate_limited += len(self.server.rate_limited)
        self.server.requests.clear()
        self._check_database()

    def _hung_up(self) -> bool:
        return not self.server.gateway.connections and all(call.finished for call in self.server.requests)

    # Judging.

    async def _settle_and_judge(self) -> None:
        """Wait until nothing is open, ask each agent what it remembers, and judge the cycle."""
        since = time.monotonic()
        people = self.people
        people.generous = True
        self.server.notify()
        # In half of all cycles the daemon has to recover without a message that reminds it of the thread.
        at_once = people.chance.random() < 0.5
        if not at_once:
            await self._wait_settled()
            self.tally.seconds["settled"].append(time.monotonic() - since)
        for thread in people.used():
            people.write(thread, "recall")
        await self._wait_settled()
        if at_once:
            self.tally.seconds["settled"].append(time.monotonic() - since)
        self._judge()
        self.tally.cycles += 1
        people.next_cycle()
        self._fits.clear()
        self._story.clear()
        self._sessions = set() if self._life is None else self._life.sessions()

    async def _wait_settled(self) -> None:
        """As long as patience lasts: what is still open then is found when the cycle is judged."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.people.settled(), self.patience)
        if self._clicker is not None and self._clicker.done():
            await self._clicker

    def _judge(self) -> None:
        people, tally = self.people, self.tally
        self._report(Finding("lost", f"{one}: no thread") for one in people.open() if one.thread is None)
        for thread in people.used():
            view = people.view(thread)
            self._report(view.check())
            people.facts[thread.id] += view.facts()
            for verdict in view.verdicts.values():
                tally.answered += bool(verdict.answers)
                tally.told += bool(verdict.told)
                tally.both += bool(verdict.told and verdict.answers)
                if verdict.prompt.recalls and verdict.answers:
                    tally.recalls += 1
                    tally.facts += len(people.facts[thread.id])
        for one in self._fits:
            if one.thread is not None and people.view(one.thread).verdict(one).told:
                self._find("interrupted", f"{one} would have fitted into the drain")
        self._check_clicks()
        self._check_tools()

    def _check_clicks(self) -> None:
        for ask in self.people.asks:
            if ask.click is None or ask.clicked_in != self.people.life:
                continue
            if ask.click.seconds is None or ask.click.seconds > self.answer_seconds:
                self._find("click", f"not answered within {self.answer_seconds} s: {ask.click!r}")

    def _runs(self) -> Counter[int]:
        """How often each prompt's tool has run, by the file that the tools write."""
        logs = [*self.folder.rglob("ran.log")]
        return Counter(int(number) for log in logs for number in re.findall(r"ran-(\d{5})", log.read_text()))

    def _check_tools(self) -> None:
        runs = self._runs()
        allowed = {ask.number for ask in self.people.asks if ask.allowed}
        for one in self.people.prompts:
            if runs[one.number] > 1:
                self._find("run twice", f"the tool of {one}, {runs[one.number]} times")
            if runs[one.number] and one.number not in allowed:
                self._find("tool", f"the tool of {one} ran, and nobody had allowed it")
        for ask in self.people.asks:
            if ask.dead is not None and runs[ask.number] > ask.ran:
                self._find("dead button", f"the tool of prompt {ask.number} ran after its dead button was pressed")

    def _check_database(self) -> None:
        said = leftovers.integrity(self.store)
        if said is not None:
            self.tally.databases += 1
            if said != "ok":
                self._find("database", said)

    async def _look_for_strays(self, when: str) -> None:
        """Nothing that a dead daemon of ours, or a session of one, is named by may live."""
        sessions = {session for dead in self._dead.values() for session in dead if session}
        for one in await asyncio.to_thread(leftovers.marked):
            if one.daemon in self._dead or one.session in sessions:
                self._find("stray", f"{when}: {one}")
