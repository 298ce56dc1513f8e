"""One run of the daemon in the crash campaign: how it begins, and when and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tests.fakes.daemon import DaemonProcess
from tests.fakes.discord import rest
from tests.support.soak import leftovers

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.fakes.discord.server import DiscordServer

GRACE_SECONDS = 1.0
LONG_DRAIN_SECONDS = 8.0
"""A drain time within which any turn of the campaign ends."""


class RequestType(NamedTuple):
    """One type of request: about one of ``one_of`` is of it; ``load`` and ``recovery`` are weights of the choice."""

    method: str
    route: str
    one_of: int
    load: float
    recovery: float


REQUEST_TYPES = {
    "request": RequestType("*", "*", 1, 3, 3),
    "post": RequestType("POST", rest.MESSAGES, 5, 3, 3),
    "edit": RequestType("PATCH", rest.MESSAGE, 5, 2, 1),
    "reaction": RequestType("PUT", rest.REACTION, 5, 1, 0.5),
    "click": RequestType("POST", rest.CALLBACK, 20, 1, 0),
    "thread": RequestType("POST", rest.MESSAGE_THREADS, 40, 0.5, 0.5),
    "history": RequestType("GET", rest.MESSAGES, 10, 0, 2),
}


@dataclass(frozen=True)
class Moment:
    """When a daemon is ended: at a request to Discord or an event from it, counted from now, or after seconds.

    ``call``: that request has arrived, and takes effect only after the daemon has ended. ``answer``: it has taken
    effect, and the daemon never gets the answer. Only requests of its ``sort`` are counted. ``rest``:
    once nothing more happens by itself.
    """

    kind: Literal["call", "answer", "event", "delay", "rest"]
    count: int = 0
    seconds: float = 0.0
    sort: str = "request"

    def __str__(self) -> str:
        if self.kind in ("call", "answer"):
            return f"{self.sort} {self.count} {'before' if self.kind == 'call' else 'after'} its effect"
        return f"{self.kind} {self.count or f'{self.seconds:.3f} s'}" if self.kind != "rest" else self.kind

    @classmethod
    def any(cls, chance: random.Random, *, calls: int, recovering: bool = False) -> Moment:
        """Within the first ``calls`` requests, as many events, or the time that so many take."""
        kinds: list[Literal["call", "answer", "event", "delay", "rest"]] = ["call", "answer", "event", "delay", "rest"]
        (kind,) = chance.choices(kinds, [3, 3, 1, 1, 0 if recovering else 0.5])
        count = chance.randint(1, calls)
        if kind == "delay":
            return cls(kind, seconds=count * 0.015)
        if kind == "event":
            return cls(kind, count)
        if kind == "rest":
            return cls(kind)
        weights = [one.recovery if recovering else one.load for one in REQUEST_TYPES.values()]
        (sort,) = chance.choices(list(REQUEST_TYPES), weights)
        return cls(kind, 1 + (count - 1) // REQUEST_TYPES[sort].one_of, sort=sort)


@dataclass(frozen=True)
class Stop:
    """How a run ends. ``drain_seconds`` is in its configuration from the beginning.

    ``cut``: the moment after SIGTERM at which it is killed, as by a service manager that waits no longer.
    """

    signum: signal.Signals
    moment: Moment
    drain_seconds: float = 0.5
    cut: Moment | None = None

    def __str__(self) -> str:
        drain = f", drain {self.drain_seconds} s" if self.signum == signal.SIGTERM else ""
        return f"{self.signum.name} at {self.moment}{drain}{f', SIGKILL at {self.cut}' if self.cut else ''}"

    @property
    def has_time(self) -> bool:
        """Whether turns that have begun have the time to end."""
        return self.signum == signal.SIGTERM and self.drain_seconds >= LONG_DRAIN_SECONDS and self.cut is None

    @classmethod
    def any(cls, chance: random.Random, *, calls: int) -> Stop:
        """Two of three are kills, and some of the others become one."""
        moment = Moment.any(chance, calls=calls)
        if chance.random() < 0.67:
            return cls(signal.SIGKILL, moment)
        cut = Moment.any(chance, calls=calls // 2) if chance.random() < 0.3 else None
        return cls(signal.SIGTERM, moment, chance.choice([0.5, LONG_DRAIN_SECONDS, LONG_DRAIN_SECONDS]), cut)


@contextlib.asynccontextmanager
async def at(server: DiscordServer, moment: Moment, over: Awaitable[object], seconds: float) -> AsyncIterator[None]:
    """The block runs at that moment, or once ``over`` returns, or after so many seconds: whatever comes first.

    The request that it was counted to is held until the end of the block.
    """
    held = None
    if moment.kind in ("call", "answer"):
        when: Literal["before", "after"] = "before" if moment.kind == "call" else "after"
        sort = REQUEST_TYPES[moment.sort]
        held = server.faults.hold(sort.method, sort.route, nth=moment.count, when=when)
        comes: Awaitable[object] = held.arrived.wait()
    elif moment.kind == "event":
        wanted = dispatched(server) + moment.count
        comes = until(server, lambda: dispatched(server) >= wanted)
    elif moment.kind == "delay":
        comes = asyncio.sleep(moment.seconds)  # this is the delay itself, nothing is waited for
    else:
        comes = asyncio.Event().wait()
    waits = [asyncio.ensure_future(one) for one in (comes, over)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        if held is not None:
            held.release()
            server.faults.rules.remove(held)
        await cancelled(waits)


async def until(server: DiscordServer, condition: Callable[[], object]) -> None:
    """Return once it holds; it is asked again after every change."""
    while not condition():
        await server.world.change()


async def cancelled(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel them; what one of them failed by is raised."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def dispatched(server: DiscordServer) -> int:
    """The gateway events of the sessions that there are."""
    return sum(len(session.log) for session in server.gateway.sessions)


class DaemonRun:
    """A daemon on the campaign's folder. ``key``: its pid and start time, as in the marker of its agents."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.daemon = daemon
        self.began = time.monotonic()
        self.key = (daemon.process.pid, leftovers.start_time(daemon.process.pid))

    @classmethod
    async def begin(cls, folder: Path, config: str) -> DaemonRun:
        return cls(await asyncio.to_thread(DaemonProcess, folder, config, ready=False))

    async def ready(self) -> float:
        """Wait for READY=1; the seconds it took. AssertionError with the end of the log where it does not come."""
        try:
            await asyncio.to_thread(self.daemon.wait_for, b"READY=1")
        except AssertionError:
            raise AssertionError(f"no READY=1; the log ends:\n{self.daemon.log.read_text()[-3000:]}") from None
        return time.monotonic() - self.began

    def signal(self, signum: signal.Signals) -> None:
        self.daemon.process.send_signal(signum)

    async def ended(self, seconds: float) -> int | None:
        """Its exit status, once it has ended; ``None`` where it takes longer, and has to be killed."""
        try:
            return await asyncio.to_thread(self.daemon.process.wait, seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            await asyncio.to_thread(self.daemon.close)

    async def over(self, seconds: float) -> None:
        """Return when it has ended by itself, or after so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self.daemon.process.wait, seconds)

    def sessions(self) -> set[str]:
        """The session ids that its living processes carry."""
        return {one.session for one in leftovers.marked() if one.daemon == self.key and one.session}
