"""Kills with a proof: SIGKILL in rounds, until two looks in a row find nothing.

One look is not enough: a process may fork and exit while the look runs. It is not in that look's list then; its child
is in the next one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.local import procfs
from acpbot.runtimes.runtime import KillReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acpbot.runtimes.local.process_tracker import ProcessTracker, TrackedSession
    from acpbot.runtimes.local.procfs import ProcessKey

LOOKS_THAT_PROVE: Final = 2
_STORM_AFTER_ROUNDS: Final = 2
_STORM_SECONDS: Final = 0.25
_EXIT_SECONDS: Final = 0.05
_PAUSE_SECONDS: Final = 0.01
_WATCHED_AT_ONCE: Final = 64  # pidfds: a fork storm must not use up our descriptors


async def kill_session(tracker: ProcessTracker, session: TrackedSession, deadline_seconds: float) -> KillReport:
    """Kill everything of one session; `KillReport` says what is known afterwards. Raises `OSError` if it can't look.

    The kernel kills a cgroup at once. Otherwise, and for processes that left their cgroup, each one is signalled
    through a pidfd; what still multiplies after two rounds is a fork storm. Kills that run at the same time share their
    looks.
    """
    begin = time.monotonic()
    deadline = begin + deadline_seconds
    since = procfs.now_ticks()
    killed: set[ProcessKey] = set()
    looks = rounds = clean = 0
    while True:
        scan = await tracker.scan()
        looks += 1
        found = scan.living.get(session.session_id, [])
        unseen = scan.ended_unseen(session.session_id, since, killed)
        since = scan.began
        clean = 0 if found or unseen else clean + 1
        if clean >= LOOKS_THAT_PROVE or (not clean and time.monotonic() >= deadline):
            break
        if clean:
            continue
        rounds += 1
        keys = [stat.key for stat in found]
        killed.update(keys)
        at_once = session.cgroup is not None and session.cgroup.kill()
        signalled = bool(keys) and await kill_and_wait(tracker, keys, _EXIT_SECONDS)
        if (unseen and not at_once) or rounds > _STORM_AFTER_ROUNDS:
            await tracker.kill_fork_storm(session, min(deadline, time.monotonic() + _STORM_SECONDS), killed)
        elif not signalled:
            await asyncio.sleep(_PAUSE_SECONDS)
    left = await tracker.describe(found) if found else []
    return KillReport(len(killed), tuple(left), clean >= LOOKS_THAT_PROVE, looks, time.monotonic() - begin)


async def kill_and_wait(tracker: ProcessTracker, keys: Iterable[ProcessKey], wait_seconds: float) -> bool:
    """Send SIGKILL to exactly these processes, and wait up to ``wait_seconds`` until they have ended.

    ``False`` where none could be signalled: gone already, or another user's. Raises `OSError`.
    """
    pidfds = await tracker.run(send_sigkill, keys)
    try:
        deadline = asyncio.get_running_loop().time() + wait_seconds
        for pidfd in pidfds:
            await _wait_until_readable(pidfd, deadline)
        return bool(pidfds)
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


def send_sigkill(keys: Iterable[ProcessKey]) -> list[int]:
    """Send SIGKILL to exactly these processes; return a pidfd for each of the first 64, for the caller to close.

    Raises `OSError`.
    """
    pidfds: list[int] = []
    try:
        for key in keys:
            pidfd = procfs.signal_process(key, signal.SIGKILL)
            if pidfd is None:
                continue
            if len(pidfds) < _WATCHED_AT_ONCE:
                pidfds.append(pidfd)
            else:
                os.close(pidfd)
    except OSError:
        for pidfd in pidfds:
            os.close(pidfd)
        raise
    return pidfds


async def _wait_until_readable(descriptor: int, deadline: float) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        async with asyncio.timeout_at(deadline):
            await readable.wait()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(descriptor)
