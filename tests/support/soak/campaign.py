"""The crash campaign: a daemon under load is ended at any moment and started again, and must lose nothing.

People write into threads of a Discord on loopback; the agent is the demo agent, whose complete answers are known. Each
cycle ends the daemon once or twice, writes meanwhile, starts it again on the same folder, and waits until it has
settled. Then every prompt must have its answer or a notice that it was interrupted, once, in order, and no process of
an ended daemon may run. The campaign looks from outside only: at Discord, /proc, the database file, and a file that
tools write.
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
from typing import TYPE_CHECKING, Any, Self

from tests.fakes.daemon import DEMO_AGENT
from tests.support.soak import leftovers
from tests.support.soak.daemon_runs import GRACE_SECONDS, DaemonRun, Moment, Stop, at, cancelled
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
"""Findings that may appear after their cycle was judged; each cycle finds by itself what is lost."""


class Campaign:
    """One folder, one Discord, one run of the daemon after the other.

    ``size``: how many threads are in use at a time. ``patience``: seconds that a daemon has to settle.
    ``answer_seconds``: so long Discord waits for the first answer to an interaction. ``reactions``: a third of all
    requests. What a cycle does is random, from the seed and its number. Each finding is passed to ``report``, and kept
    in ``findings``.
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
        report: Callable[[Finding], None] = lambda _finding: None,
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
        self._report_finding = report
        self._known: set[Finding] = set()
        self._run: DaemonRun | None = None
        self._stop = Stop(signal.SIGKILL, Moment("rest"))
        self._dead: dict[tuple[int, int], set[str]] = {}
        self._sessions: set[str] = set()
        self._fits: list[Prompt] = []
        self._story: list[str] = []
        self._clicker: asyncio.Task[None] | None = None

    # From beginning to end.

    async def __aenter__(self) -> Self:
        self._clicker = asyncio.create_task(self.people.click_until_cancelled(), name="clicks")
        self._plan(0)
        await self._begin()
        await self._connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._clicker is not None:
            self._clicker.cancel()
            await asyncio.gather(self._clicker, return_exceptions=True)
        if self._run is not None:
            await asyncio.to_thread(self._run.daemon.close)

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
        await self._end(self._stop, self.people.load())
        self.people.write_while_stopped()
        self._plan(self.tally.cycles + 1)
        if self.people.chance.random() < 0.2:
            await self._end_early()
        await self._begin(writes=True)
        await self._connected()
        for one in await self.people.press_stale(lambda number: self._runs()[number], self.answer_seconds):
            self._find("stale button", f"no answer within {self.answer_seconds} s: {one!r}")
        await self._settle_and_judge()

    async def finish(self) -> None:
        """Stop the daemon, which has nothing to do; then look at everything once more."""
        await self._end(Stop(signal.SIGTERM, Moment("rest"), self._stop.drain_seconds), [])
        await self._check_leftovers("after the last stop")
        for thread, prompts in by_thread(self.people.all).items():
            if thread is not None:
                view = Thread(self.people.reader.pages(thread), prompts, ends=self.tally.kills + self.tally.stops)
                self._report(one for one in view.check() if one.kind in _LASTING and one not in self._known)
                self.tally.stale_notes += len(view.notes)
        log = (self.folder / "daemon.log").read_text()
        if "Traceback" in log:
            self._find("traceback", log[log.index("Traceback") :][:2000])

    def _plan(self, cycle: int) -> None:
        """Decide how the next run ends: its drain time is part of its configuration."""
        chance = self.people.chance = random.Random(f"{self.seed}/{cycle}")  # noqa: S311 - it chooses what a test does
        self._stop = Stop.any(chance, calls=25 * self.people.size)
        # A turn that asks a question that nobody answers does not end within any drain time.
        self.people.brief = self._stop.has_time

    def _find(self, kind: str, what: str) -> None:
        self._report([Finding(kind, what)])

    def _report(self, findings: Iterable[Finding]) -> None:
        """Keep them, with what happened in this cycle."""
        story = "; ".join(self._story)
        for finding in findings:
            self._known.add(finding)
            full = Finding(finding.kind, f"cycle {self.tally.cycles} ({story}): {finding.what}")
            self.findings.append(full)
            self._report_finding(full)

    # Runs of the daemon.

    def _config(self) -> str:
        server = self.server
        tables: dict[str, dict[str, Any]] = {
            "discord": {
                "bot_token": server.token,
                "allowed_users": [str(self.people.ada.id)],
                "api_base": server.api_base,
                "gateway_url": server.gateway_url,
            },
            "pool": {"grace_seconds": GRACE_SECONDS, "max_sessions": 4 * self.people.size, "max_queued": 100},
            "permissions": {"timeout_seconds": 600},
            "shutdown": {"drain_seconds": self._stop.drain_seconds},
            "store": {"path": str(self.store)},
            "reactions": {"enabled": self.reactions},
        }
        lines = [DEMO_AGENT, 'env = { ACPBOT_DEMO_PACE = "0.01" }']
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        return "\n".join([*lines, ""])

    async def _start(self) -> DaemonRun:
        self.people.run += 1
        self._run = await DaemonRun.begin(self.folder, self._config())
        self.people.alive = True
        return self._run

    async def _begin(self, *, writes: bool = False) -> None:
        """Start a run and wait until it is ready: the processes of earlier runs must have ended by then."""
        writing = asyncio.create_task(self.people.write_while_starting()) if writes else None
        run = await self._start()
        self.tally.seconds["ready"].append(await run.ready())
        await self._check_leftovers("when ready")
        if writing is not None:
            await asyncio.wait_for(writing, self.patience)

    async def _connected(self) -> None:
        await self.server.wait_until_connected(seconds=self.patience)
        if self._run is not None:
            self.tally.seconds["connected"].append(time.monotonic() - self._run.began)

    async def _end_early(self) -> None:
        """One more run, which is killed while it starts or recovers."""
        await self._start()
        self.tally.early += 1
        calls = self.people.chance.choice([5, 20, 10 * self.people.size])
        moment = Moment.any(self.people.chance, calls=calls, recovering=True)
        await self._end(Stop(signal.SIGKILL, moment), [], over=self.people.settled())
        self.people.write_while_stopped()

    async def _end(self, stop: Stop, scripts: list[asyncio.Task[None]], *, over: Awaitable[None] | None = None) -> None:
        """End the run at its moment, or once ``over`` returns, and check what it leaves."""
        run = self._run
        if run is None:
            raise AssertionError("there is no run to end")
        self._story.append(str(stop))
        self.tally.moments[stop.moment.kind] += 1
        async with at(self.server, stop.moment, over or self.people.loaded(scripts), self.patience):
            work = self.people.open()
            if stop.has_time:
                self._fits += [one for one in work if self.people.begun(one) and one.click != "never"]
            run.signal(stop.signum)
            await cancelled(scripts)
            if stop.signum == signal.SIGKILL:
                await run.ended(self.patience)
        if stop.signum == signal.SIGKILL:
            self.tally.kills += 1
        else:
            self.tally.stops += 1
            await self._check_stop(run, stop, working=bool(work))
        self._run, self.people.alive = None, False
        self.people.ends += 1
        self.people.last_end = self.server.world.snowflake()
        await self._check_remains(run)

    async def _check_stop(self, run: DaemonRun, stop: Stop, *, working: bool) -> None:
        """SIGTERM was sent: it ends in time, and with status 0."""
        since = time.monotonic()
        bound = GRACE_SECONDS + STOP_SECONDS + (stop.drain_seconds if working else 0)
        people = self.people
        if working and people.chance.random() < 0.4:
            people.write(people.chance.choice(people.threads or [people.channel]))
        if stop.cut is not None:
            async with at(self.server, stop.cut, run.over(bound), bound):
                run.signal(signal.SIGKILL)
        status = await run.ended(bound + self.patience)
        seconds = time.monotonic() - since
        if stop.cut is not None and status == -signal.SIGKILL:
            self.tally.cut += 1
            return
        self.tally.seconds["stop"].append(seconds)
        if seconds > bound:
            self._find("slow stop", f"{seconds:.1f} s, where {bound:.1f} s are enough")
        if status:
            self._find("exit status", f"{status} after SIGTERM")

    async def _check_remains(self, run: DaemonRun) -> None:
        """Count what is left of a run, once it has closed its connections to Discord."""
        left = [one for one in await asyncio.to_thread(leftovers.marked) if one.daemon == run.key]
        self.tally.left_behind += len(left)
        self._dead[run.key] = self._sessions | {one.session for one in left}
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
        self._sessions = set() if self._run is None else self._run.sessions()

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
                tally.notified += bool(verdict.notified)
                tally.both += bool(verdict.notified and verdict.answers)
                if verdict.prompt.recalls and verdict.answers:
                    tally.recalls += 1
                    tally.facts += len(people.facts[thread.id])
        for one in self._fits:
            if one.thread is not None and people.view(one.thread).verdict(one).notified:
                self._find("interrupted", f"{one} would have fitted into the drain")
        self._check_clicks()
        self._check_tools()

    def _check_clicks(self) -> None:
        for ask in self.people.asks:
            if ask.click is None or ask.clicked_in != self.people.run:
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
            if ask.stale_click is not None and runs[ask.number] > ask.ran:
                self._find("stale button", f"the tool of prompt {ask.number} ran after its dead button was pressed")

    def _check_database(self) -> None:
        said = leftovers.integrity(self.store)
        if said is not None:
            self.tally.databases += 1
            if said != "ok":
                self._find("database", said)

    async def _check_leftovers(self, when: str) -> None:
        """No process may run that names an ended daemon of this campaign, or a session of one."""
        sessions = {session for dead in self._dead.values() for session in dead if session}
        for one in await asyncio.to_thread(leftovers.marked):
            if one.daemon in self._dead or one.session in sessions:
                self._find("leftover", f"{when}: {one}")
