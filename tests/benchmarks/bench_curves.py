"""What more of something costs: sessions, known threads, the size of an update and of an answer, watchers."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import bench_floods
from tests.benchmarks.bench_memory import rss_kib
from tests.benchmarks.bench_restart import cpu_seconds, fill
from tests.benchmarks.rows import Curve
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.benchmarks.rows import Result, Size

    Points = dict[float, list[float]]

SESSIONS = (1, 10, 50, 100, 250, 500)
THREADS = (0, 1000, 5000, 10_000, 25_000, 50_000)
UPDATES = (64, 1024, 16 * 1024, 64 * 1024, 256 * 1024, 1000 * 1024, 2 * 1024 * 1024)
ANSWERS = (1000, 10_000, 50_000, 100_000, 500_000, 1_000_000)
WATCHERS = (0, 1, 4, 12, 28)  # of 32 connections
LIMIT = 120
CALLS = 15
TURNS = 100
ANSWER = 900 * 1024
IDLE_SECONDS = 5.0
CHUNK = "a word or two, and then some more "
PER_SESSION = "Each new session costs as much as the last; the first bears what the daemon costs by itself."


def empty(sizes: Sequence[int]) -> Points:
    return {float(size): [] for size in sizes}


def points(found: Points) -> tuple[tuple[float, tuple[float, ...]], ...]:
    return tuple((size, tuple(runs)) for size, runs in sorted(found.items()))


def spent(pid: int, work: Callable[[], object]) -> float:
    """Return the milliseconds of CPU time that a process spends meanwhile, its threads included."""
    before = cpu_seconds(pid)
    work()
    return (cpu_seconds(pid) - before) * 1000


def called(wire: Wire, method: str) -> float:
    """Return the microseconds of a call, the median of several."""
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        wire.call(method)
        took.append((time.perf_counter() - began) * 1e6)
    return statistics.median(took)


def taken(wire: Wire, thread: str) -> float:
    """Return the milliseconds of a turn, the median of several."""
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        wire.turn(thread, "say hi")
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def sessions(sizes: Sequence[int], rounds: int) -> Iterator[Curve]:
    """One daemon, which gets more and more sessions."""
    turns, lists, idle, memory = empty(sizes), empty(sizes), empty(sizes), empty(sizes)
    config = DEMO_AGENT + f'env = {{ ACPBOT_DEMO_PACE = "0" }}\n[pool]\nmax_sessions = {max(sizes)}\n'
    with (
        tempfile.TemporaryDirectory() as name,
        DaemonProcess(Path(name) / "d", config) as daemon,
        daemon.wire() as wire,
        daemon.wire() as looker,
    ):
        wire.socket.settimeout(LIMIT)
        looker.socket.settimeout(LIMIT)
        pid, opened = daemon.process.pid, 0
        bare = rss_kib(pid)
        for size in sizes:
            for number in range(opened, size):
                wire.call("chat.open", thread=f"t{number}")
                if number:  # a connection takes the events of 64 at most
                    wire.call("chat.leave", thread=f"t{number}")
            opened = size
            while looker.call("health.get")["pool"]["starting"]:
                time.sleep(0.2)
            wire.notifications.clear()
            for _ in range(rounds):
                turns[size].append(taken(wire, "t0"))
                lists[size].append(called(looker, "sessions.list") / size)
                idle[size].append(spent(pid, lambda: time.sleep(IDLE_SECONDS)) / IDLE_SECONDS / size)
            memory[size].append((rss_kib(pid) - bare) / size)
    along = "sessions"
    yield Curve(
        key="curves.sessions.turn", what="a turn beside idle sessions", along=along, unit="ms", points=points(turns)
    )
    yield Curve(
        key="curves.sessions.list",
        what="sessions.list, for each row",
        along=along,
        unit="us",
        points=points(lists),
        why=PER_SESSION,
    )
    yield Curve(
        key="curves.sessions.idle",
        what="CPU time for each idle session",
        along=along,
        unit="ms a second",
        points=points(idle),
        why="Each tick, once a second, looks at every session, and every two seconds at the processes of each.",
    )
    yield Curve(
        key="curves.sessions.memory",
        what="memory for each session",
        along=along,
        unit="KiB",
        points=points(memory),
        why=PER_SESSION,
    )


def threads(sizes: Sequence[int], rounds: int) -> Iterator[Curve]:
    """Daemons that know so many threads from earlier."""
    starts, memory, turns, looks = empty(sizes), empty(sizes), empty(sizes), empty(sizes)
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            folder = Path(name) / str(size)
            asyncio.run(fill(folder, size))
            for _ in range(rounds):
                began = time.perf_counter()
                with DaemonProcess(folder, f'{DEMO_AGENT}env = {{ ACPBOT_DEMO_PACE = "0" }}\n') as daemon:
                    starts[size].append((time.perf_counter() - began) * 1000)
                    memory[size].append(rss_kib(daemon.process.pid) / 1024)
                    with daemon.wire() as wire:
                        wire.call("chat.open", thread="t0")
                        wire.turn("t0", "say hi")
                        turns[size].append(taken(wire, "t0"))
                        looks[size].append(called(wire, "health.get"))
                    daemon.stop()
    along = "known threads"
    why = "Each known thread is a row that the start reads and checks, and keeps in memory."
    yield Curve(
        key="curves.threads.start", what="start until READY=1", along=along, unit="ms", points=points(starts), why=why
    )
    yield Curve(
        key="curves.threads.memory",
        what="memory of the daemon",
        along=along,
        unit="MiB",
        points=points(memory),
        why=why,
    )
    yield Curve(key="curves.threads.turn", what="a turn", along=along, unit="ms", points=points(turns))
    yield Curve(key="curves.threads.health", what="health.get", along=along, unit="us", points=points(looks))


def updates(sizes: Sequence[int], rounds: int) -> Iterator[Curve]:
    """Text of so many bytes in one update, from the pipe to what is shown; an answer has up to ANSWER bytes of them."""
    found = empty(sizes)
    for size in sizes:
        text = (CHUNK * 3 + "\n") * (size // (3 * len(CHUNK)) + 1)
        data = bench_floods.line("agent_message_chunk", content={"type": "text", "text": text[:size]})
        count = max(1, min(500, ANSWER // size))
        for _ in range(rounds):
            took = 0.0
            for _ in range(max(1, 500 // count // 10)):
                handle = bench_floods.handler()
                handle(bench_floods.chunk(0))
                began = time.process_time()
                for _ in range(count):
                    handle(data)
                took += time.process_time() - began
            found[size].append(took * 1e6 / (max(1, 500 // count // 10) * count) / (size / 1024))
    yield Curve(
        key="curves.updates",
        what="an update, for each KiB of its text",
        along="bytes in an update",
        unit="us",
        points=points(found),
        why="Small ones bear the fixed cost of an update; lines of over 1 MiB are shortened while they arrive.",
    )


def answers(sizes: Sequence[int], rounds: int) -> Iterator[Curve]:
    """An answer of so many characters, in chunks of 34, and made into messages after each tenth of a second or so."""
    from acpbot.chat.rendering.live_message import LiveMessage  # noqa: PLC0415 - this process measures it

    found = empty(sizes)
    for size in sizes:
        for _ in range(rounds):
            live = LiveMessage(tables="code")
            began = time.process_time()
            for number in range(size // len(CHUNK)):
                live.append(CHUNK if number % 12 else f"\nparagraph {number}\n")
                if number % 10 == 0:
                    live.bodies()
            live.bodies()
            found[size].append((time.process_time() - began) * 1e6 / (size / 1000))
    yield Curve(
        key="curves.answers",
        what="an answer rendered while it grows, for 1,000 characters",
        along="characters",
        unit="us",
        points=points(found),
    )


def watchers(sizes: Sequence[int], rounds: int) -> Iterator[Curve]:
    """So many clients that have every change of a row sent to them, as `acpctl top` has."""
    found = empty(sizes)
    with tempfile.TemporaryDirectory() as name:
        config = f'{DEMO_AGENT}env = {{ ACPBOT_DEMO_PACE = "0" }}\n'
        with DaemonProcess(Path(name) / "d", config) as daemon, daemon.wire() as wire:
            wire.call("chat.open", thread="t0")
            wire.turn("t0", "say hi")
            watching: list[Wire] = []
            for size in sizes:
                while len(watching) < size:
                    watching.append(daemon.wire())
                    watching[-1].call("sessions.watch")
                    threading.Thread(target=_drain, args=(os.dup(watching[-1].socket.fileno()),), daemon=True).start()
                for _ in range(rounds):
                    cost = spent(daemon.process.pid, lambda: [wire.turn("t0", "say hi") for _ in range(TURNS)])
                    found[size].append(cost / TURNS)
            for one in watching:
                one.__exit__()
    yield Curve(
        key="curves.watchers",
        what="CPU time of a turn",
        along="watchers",
        unit="ms",
        points=points(found),
        why="Each change is encoded once and written to each watcher.",
    )


def _drain(descriptor: int) -> None:
    """Read what comes until it ends."""
    os.set_blocking(descriptor, True)
    try:
        while os.read(descriptor, 65536):
            continue
    except OSError:
        return
    finally:
        os.close(descriptor)


def results(size: Size) -> Iterator[Result]:
    rounds = size.pick(5, 2)
    yield from sessions(size.pick(SESSIONS, SESSIONS[:3]), rounds)
    yield from threads(size.pick(THREADS, THREADS[:2]), rounds)
    yield from updates(UPDATES, rounds)
    yield from answers(size.pick(ANSWERS, ANSWERS[:4]), rounds)
    yield from watchers(size.pick(WATCHERS, WATCHERS[:3]), rounds)
