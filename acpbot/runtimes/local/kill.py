"""A kill that is a proof: SIGKILL in rounds, until two looks in a row find nothing.

One look is not enough: a process that forks behind the walk's back and exits is not in its list, its child is in the
next one.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.process_tracker import describe
from acpbot.runtimes.runtime import KillReport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acpbot.runtimes.local.process_tracker import ProcessTracker, TrackedSession
    from acpbot.runtimes.local.procfs import ProcessKey

_LOOKS_THAT_PROVE: Final = 2
_HUNT_AFTER_ROUNDS: Final = 2
_HUNT_SECONDS: Final = 0.25
_EXIT_SECONDS: Final = 0.05
_PAUSE_SECONDS: Final = 0.01
_WATCHED_AT_ONCE: Final = 64  # pidfds: a storm must not use up our descriptors


async def end_all(census: ProcessTracker, claim: TrackedSession, deadline_seconds: float) -> KillReport:
    """End everything of one session; see `KillReport` for what is known afterwards.

    A cgroup is killed at once by the kernel. Else, and for what left its cgroup, each process is signalled through a
    pidfd; what still multiplies after two rounds is hunted. Looks are shared with other kills that run at the time.
    """
    begin = time.monotonic()
    deadline = begin + deadline_seconds
    since = procfs.now_ticks()
    killed: set[ProcessKey] = set()
    looks = rounds = clean = 0
    while True:
        look = await census.scan()
        looks += 1
        found = look.living.get(claim.session_id, [])
        unseen = look.signs_of(claim.session_id, since, killed)
        since = look.began
        clean = 0 if found or unseen else clean + 1
        if clean >= _LOOKS_THAT_PROVE or (not clean and time.monotonic() >= deadline):
            break
        if clean:
            continue
        rounds += 1
        keys = [stat.key for stat in found]
        killed.update(keys)
        at_once = claim.cgroup is not None and claim.cgroup.kill()
        struck = bool(keys) and await asyncio.to_thread(kill_and_wait, keys, _EXIT_SECONDS)
        if (unseen and not at_once) or rounds > _HUNT_AFTER_ROUNDS:
            until = min(deadline, time.monotonic() + _HUNT_SECONDS)
            killed |= await asyncio.to_thread(census.kill_fork_storm, claim, until)
        elif not struck:
            await asyncio.sleep(_PAUSE_SECONDS)
    proven = clean >= _LOOKS_THAT_PROVE
    return KillReport(len(killed), tuple(describe(found)), proven, looks, time.monotonic() - begin)


def kill_and_wait(keys: Iterable[ProcessKey], wait_seconds: float) -> bool:
    """Send SIGKILL to these very processes, and wait up to ``wait_seconds`` until they have ended. Blocks.

    ``False`` where none could be signalled: gone already, or another user's.
    """
    watched: list[int] = []
    try:
        for key in keys:
            pidfd = procfs.signal_process(key, signal.SIGKILL)
            if pidfd is None:
                continue
            if len(watched) < _WATCHED_AT_ONCE:
                watched.append(pidfd)
            else:
                os.close(pidfd)
        _wait_for_exits(watched, wait_seconds)
        return bool(watched)
    finally:
        for pidfd in watched:
            os.close(pidfd)


def _wait_for_exits(pidfds: Iterable[int], seconds: float) -> None:
    poll = select.poll()
    running = set(pidfds)
    for pidfd in running:
        poll.register(pidfd, select.POLLIN)
    until = time.monotonic() + seconds
    while running and (left := until - time.monotonic()) > 0:
        for pidfd, _ in poll.poll(left * 1_000):
            poll.unregister(pidfd)
            running.discard(pidfd)
