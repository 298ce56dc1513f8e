"""Ending an agent: the ladder of DESIGN section 3, each rung bounded, the end looked up in the system, not assumed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.acp.agent import Agent
    from acpbot.runtimes.runtime import AgentProcess

log = get_logger(__name__)

Step = Literal["cancel", "close", "eof", "sigterm", "sigkill", "container"]

# What each polite rung may take of the time that is then left; SIGTERM gets the rest. Agents that obey take a few
# hundredths of a second on each, so the shares matter only for those that don't.
_CANCEL_SHARE: Final = 0.25
_CLOSE_SHARE: Final = 0.25
_EOF_SHARE: Final = 0.4
_EOF_SECONDS: Final = 0.75  # agents that leave at EOF were seen to take 0.3 s; one ignores it
_REAP_SECONDS: Final = 2.0
_CONTAINER_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.01


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent ended. ``reached``: the last rung that was needed; ``None`` where it had ended by itself."""

    reached: Step | None
    processes_ended: int
    processes_left: int
    seconds: float


class _Ladder:
    def __init__(self, process: AgentProcess, grace: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.process = process
        self.started = self._loop.time()
        self.deadline = self.started + grace
        self.reached: Step | None = None
        self.seen: set[tuple[int, int]] = set()

    def alive(self) -> bool:
        return self.process.alive

    def left(self, share: float = 1.0) -> float:
        return max(0.0, (self.deadline - self._loop.time()) * share)

    def step(self, rung: Step) -> None:
        self.reached = rung
        log.debug("ladder_step", rung=rung, pid=self.process.pid, seconds=round(self._loop.time() - self.started, 3))

    async def look(self) -> list[tuple[int, int, int]]:
        """Every living process of the session, as (pid, start time, process group)."""
        found = await self.process.look()
        self.seen.update((info.pid, info.start_time) for info in found)
        return [(info.pid, info.start_time, info.pgid) for info in found]

    async def exited(self, limit: float) -> bool:
        try:
            async with asyncio.timeout(limit):
                await self.process.wait()
        except TimeoutError:
            return False
        return True

    async def group_gone(self) -> bool:
        """Whether leader and group are gone, waiting for the group until the deadline.

        A leader can be a wrapper that leaves its real child behind; that child gets the same time.
        """
        while any(group == self.process.pid for _, _, group in await self.look()):
            if self.left() == 0:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True


async def end_agent(
    agent: Agent, process: AgentProcess, *, grace: float, turn_over: asyncio.Event | None = None
) -> Ending:
    """End the agent and everything that it started; returns what a look at the system found afterwards.

    ``grace``: seconds for all polite rungs together; 0 goes straight to SIGKILL. ``turn_over``: set when the running
    prompt has been answered, ``None`` where none runs. Never raises for what an agent does.
    """
    ladder = _Ladder(process, grace)
    await ladder.look()
    if grace > 0:
        await _politely(agent, process, ladder, turn_over)
    if ladder.alive() or not await ladder.group_gone():
        ladder.step("sigkill")
        process.kill()
        await ladder.exited(_REAP_SECONDS)
    # Last and always: only this is a proof; one look that finds nothing could have missed what forks and exits.
    report = await process.kill_container(_CONTAINER_SECONDS)
    if report.killed:
        ladder.step("container")
    left = max(len(report.left), int(not report.proven))
    agent.connection.close()
    await process.aclose()
    return Ending(
        reached=ladder.reached,
        processes_ended=len(ladder.seen) - len(report.left),
        processes_left=left,
        seconds=asyncio.get_running_loop().time() - ladder.started,
    )


async def _politely(agent: Agent, process: AgentProcess, ladder: _Ladder, turn_over: asyncio.Event | None) -> None:
    if not ladder.alive():
        return
    if turn_over is not None and not turn_over.is_set():
        ladder.step("cancel")
        agent.cancel()
        try:
            async with asyncio.timeout(ladder.left(_CANCEL_SHARE)):
                await turn_over.wait()
        except TimeoutError:
            log.debug("ladder_cancel_ignored", pid=process.pid)
    if ladder.alive() and agent.session_id is not None and agent.capabilities.session("close"):
        ladder.step("close")
        await agent.close_session(ladder.left(_CLOSE_SHARE))
    await ladder.look()
    if ladder.alive():
        ladder.step("eof")
        process.close_stdin()
        await ladder.exited(min(_EOF_SECONDS, ladder.left(_EOF_SHARE)))
    if ladder.alive() or any(group == process.pid for _, _, group in await ladder.look()):
        ladder.step("sigterm")
        process.terminate()
        if await ladder.exited(ladder.left()):
            await ladder.group_gone()
