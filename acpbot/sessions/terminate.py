"""Ends an agent in steps, each with a time limit; what is left is looked up in the system, not assumed."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from acpbot.logs import get_logger
from acpbot.runtimes.far_side import far_side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acpbot.acp.agent import Agent
    from acpbot.runtimes.far_side import FarSide
    from acpbot.runtimes.runtime import AgentProcess, KillReport

log = get_logger(__name__)

Step = Literal["cancel", "close", "eof", "sigterm", "sigkill", "container"]
Proof = Literal["system", "engine", "none"]
"""Who has looked for what is left: this machine's system, the engine that runs the agent, or nobody who could."""

# What each step before SIGTERM may take of the time that is then left; SIGTERM gets the rest. Agents that obey need a
# few hundredths of a second for each, so the shares matter only for those that don't.
_CANCEL_SHARE: Final = 0.25
_CLOSE_SHARE: Final = 0.25
_DELETE_SHARE: Final = 0.25
_EOF_SHARE: Final = 0.4
_EOF_SECONDS: Final = 0.75  # agents that exit at EOF were seen to take 0.3 s; one ignores it
_REAP_SECONDS: Final = 2.0
_CONTAINER_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.01


class TerminationResult(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent ended.

    ``reached``: the last step that was needed, ``None`` where the agent had ended by itself. ``processes_left``: how
    many a look found afterwards, ``None`` where nobody could look (``proof`` is then ``none``). ``ended``: nothing can
    be done that has not been; where it is false, another try may find and end more. ``alive``: whether the agent itself
    may still run.
    """

    reached: Step | None
    processes_ended: int
    processes_left: int | None
    proof: Proof
    seconds: float
    ended: bool
    alive: bool = False


NOTHING_RAN: Final = TerminationResult(
    reached=None, processes_ended=0, processes_left=0, proof="system", seconds=0.0, ended=True
)
UNVERIFIED: Final = TerminationResult(
    reached=None, processes_ended=0, processes_left=None, proof="none", seconds=0.0, ended=False, alive=True
)
"""Nobody could look."""


async def terminate(
    agent: Agent,
    process: AgentProcess,
    *,
    grace: float,
    turn_over: asyncio.Event | None = None,
    delete: bool = False,
) -> TerminationResult:
    """End the agent and every process that it started; return what a look at the system found afterwards.

    ``grace``: seconds for all steps up to SIGTERM together; 0 begins with SIGKILL. ``turn_over``: set once the running
    prompt is answered, ``None`` where none runs. ``delete``: have the agent delete the conversation too. Always returns
    a result: a step that fails is logged, and the next one follows.
    """
    now = asyncio.get_running_loop().time
    started = now()
    run = _Run(agent, process, started + grace)
    await run.group_runs()
    if grace > 0 and process.alive:
        await _ask_to_end(run, turn_over, delete=delete)
    if process.alive or not await run.group_ends():
        with run.step("sigkill"):
            process.kill()
            await run.exits(_REAP_SECONDS)
    # Always, and last: only this is a proof. A single look may miss a process that forks and exits.
    report = await run.kill_container()
    with run.step(run.reached):
        agent.close()
        await process.aclose()
    left, proof = _left(run, report)
    return TerminationResult(
        reached=run.reached,
        processes_ended=0 if report is None else max(0, len(run.seen) - len(report.left)),
        processes_left=left,
        proof=proof,
        seconds=now() - started,
        ended=report is not None and report.proven,
        alive=process.alive,
    )


def _left(run: _Run, report: KillReport | None) -> tuple[int | None, Proof]:
    """Return how many processes are left, and who says so."""
    if report is None or run.process.elsewhere is not None or run.elsewhere is not None:
        return None, "none"
    if report.proven or report.left:
        return len(report.left), "system"
    return None, "none"  # processes that no look has caught may run


@dataclass
class _Run:
    """One run through the steps. ``deadline``: on the event loop's clock, for the steps up to SIGTERM."""

    agent: Agent
    process: AgentProcess
    deadline: float
    reached: Step | None = None
    seen: set[tuple[int, int]] = field(default_factory=set)
    elsewhere: FarSide | None = None
    """Where the leader has become a program that runs the agent elsewhere: a script can do that."""

    @contextlib.contextmanager
    def step(self, step: Step | None) -> Iterator[None]:
        """Note that this step is reached. An error in it is logged and goes no further."""
        self.reached = step
        log.debug("termination_step", step=step, pid=self.process.pid)
        try:
            yield
        except Exception:
            # Broad: whatever fails, the later steps are still to be taken, and the caller gets a result.
            log.exception("termination_step_failed", step=step, pid=self.process.pid)

    def seconds_left(self, share: float = 1.0) -> float:
        return max(0.0, (self.deadline - asyncio.get_running_loop().time()) * share)

    async def exits(self, limit: float) -> bool:
        """Wait until the leader exits; whether it did within ``limit`` seconds."""
        try:
            async with asyncio.timeout(limit):
                await self.process.wait()
        except TimeoutError:
            return False
        return True

    async def group_runs(self) -> bool | None:
        """Look and remember all processes; whether one of the leader's group runs, ``None`` where it can't look."""
        try:
            found = await self.process.look()
        except Exception:
            # Broad: any failure means the same, that nobody could look; the caller treats that as unknown.
            log.exception("termination_look_failed", pid=self.process.pid)
            return None
        groups = set()
        for info in found:
            self.seen.add((info.pid, info.start_time))
            groups.add(info.pgid)
            if info.pid == self.process.pid:
                client = far_side(info.command.split())
                self.elsewhere = client if client is not None and not client.visible else self.elsewhere
        return self.process.pid in groups

    async def group_ends(self) -> bool:
        """Wait until the leader's group has ended; whether it did before the deadline, and a look has shown it.

        A leader can be a wrapper that leaves its real child behind; that child gets the same time.
        """
        while True:
            runs = await self.group_runs()
            if not runs or self.seconds_left() == 0:
                return runs is False
            await asyncio.sleep(_LOOK_SECONDS)

    async def kill_container(self) -> KillReport | None:
        """Kill what is left; ``None`` where that failed and so nobody knows what is left."""
        try:
            report = await self.process.kill_container(_CONTAINER_SECONDS)
        except Exception:
            # Broad: any failure means the same, that nothing is proved; the result says so.
            log.exception("termination_step_failed", step="container", pid=self.process.pid)
            self.reached = "container"
            return None
        if report.killed:
            self.reached = "container"
        return report


async def _ask_to_end(run: _Run, turn_over: asyncio.Event | None, *, delete: bool) -> None:
    """Take the steps that an agent can obey, until it has ended."""
    agent, process = run.agent, run.process
    if turn_over is not None and not turn_over.is_set():
        with run.step("cancel"):
            agent.cancel()
            try:
                async with asyncio.timeout(run.seconds_left(_CANCEL_SHARE)):
                    await turn_over.wait()
            except TimeoutError:
                log.debug("cancel_ignored", pid=process.pid)
    if process.alive and agent.can_close and agent.session_id is not None:
        with run.step("close"):
            await agent.close_session(run.seconds_left(_CLOSE_SHARE))
    if delete and process.alive and agent.can_delete and agent.session_id is not None:
        with run.step(run.reached):  # after the close: an agent may keep a session that is open
            await agent.delete_session(run.seconds_left(_DELETE_SHARE))
    await run.group_runs()  # what the agent leaves behind when it exits now stays known
    if process.alive:
        with run.step("eof"):
            process.close_stdin()
            await run.exits(min(_EOF_SECONDS, run.seconds_left(_EOF_SHARE)))
    if process.alive or await run.group_runs() is not False:
        with run.step("sigterm"):
            process.terminate()
            if await run.exits(run.seconds_left()):
                await run.group_ends()
