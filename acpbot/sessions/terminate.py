"""Ends an agent in steps, each with a time limit; what is left is looked up in the system, not assumed."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from acpbot.logs import get_logger
from acpbot.runtimes.runtime import Proof  # noqa: TC001 - msgspec resolves the annotation when it runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from acpbot.acp.agent import Agent
    from acpbot.runtimes.runtime import AgentProcess, KillReport

log = get_logger(__name__)

Step = Literal["cancel", "close", "eof", "sigterm", "sigkill", "container"]

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
    answer: Callable[[], None] = lambda: None,
    delete: bool = False,
) -> TerminationResult:
    """End the agent and every process that it started; return what a look at the system found afterwards.

    ``grace``: seconds for all steps up to SIGTERM together; 0 begins with SIGKILL. ``turn_over``: set once the running
    prompt is answered, ``None`` where none runs. ``answer``: answers the agent's open requests; called once the agent
    is asked to cancel the prompt, for else it goes on as if people had refused. ``delete``: have the agent delete the
    conversation too. Always returns a result: a step that fails is logged, and the next one follows.
    """
    now = asyncio.get_running_loop().time
    started = now()
    run = _Run(agent, process, started + grace)
    await run.group_runs()
    if grace > 0 and process.alive is not False:
        if turn_over is not None and not turn_over.is_set():
            with run.step("cancel"):
                agent.cancel()
        with run.step(run.reached):
            answer()
        await _ask_to_end(run, turn_over, delete=delete)
    if process.alive is not False or not await run.group_ends():
        with run.step("sigkill"):
            process.kill()
            await run.exits(_REAP_SECONDS)
    # Always, and last: only this is a proof. A single look may miss a process that forks and exits.
    report = await run.kill_all()
    with run.step(run.reached):
        agent.close()
        await process.aclose()
    proof: Proof = "none" if report is None else report.proof
    return TerminationResult(
        reached=run.reached,
        processes_ended=0 if report is None else max(0, len(run.seen) - len(report.left)),
        processes_left=None if report is None or proof == "none" else len(report.left),
        proof=proof,
        seconds=now() - started,
        ended=report is not None and report.settled,
        alive=process.alive is not False,
    )


@dataclass
class _Run:
    """One run through the steps. ``deadline``: on the event loop's clock, for the steps up to SIGTERM."""

    agent: Agent
    process: AgentProcess
    deadline: float
    reached: Step | None = None
    seen: set[tuple[int, int]] = field(default_factory=set)

    @contextlib.contextmanager
    def step(self, step: Step | None) -> Iterator[None]:
        """Note that this step is reached. An error in it is logged and goes no further."""
        self.reached = step
        log.debug("termination_step", step=step, session=self.process.session_id)
        try:
            yield
        except Exception:
            # Broad: whatever fails, the later steps are still to be taken, and the caller gets a result.
            log.exception("termination_step_failed", step=step, session=self.process.session_id)

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
        """Look and remember all processes; whether a main one runs, ``None`` where it can't look."""
        try:
            found = await self.process.look()
        except Exception:
            # Broad: any failure means the same, that nobody could look; the caller treats that as unknown.
            log.exception("termination_look_failed", session=self.process.session_id)
            return None
        self.seen.update((info.pid, info.start_time) for info in found)
        return any(info.is_main for info in found)

    async def group_ends(self) -> bool:
        """Wait until the leader's group has ended; whether it did before the deadline, and a look has shown it.

        A leader can be a wrapper that leaves its real child behind; that child gets the same time.
        """
        while True:
            runs = await self.group_runs()
            if not runs or self.seconds_left() == 0:
                return runs is False
            await asyncio.sleep(_LOOK_SECONDS)

    async def kill_all(self) -> KillReport | None:
        """Kill what is left; ``None`` where that failed and so nobody knows what is left."""
        try:
            report = await self.process.kill_all(_CONTAINER_SECONDS)
        except Exception:
            # Broad: any failure means the same, that nothing is proved; the result says so.
            log.exception("termination_step_failed", step="container", session=self.process.session_id)
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
            try:
                async with asyncio.timeout(run.seconds_left(_CANCEL_SHARE)):
                    await turn_over.wait()
            except TimeoutError:
                log.debug("cancel_ignored", session=process.session_id)
    if process.alive is not False and agent.can_close and agent.session_id is not None:
        with run.step("close"):
            await agent.close_session(run.seconds_left(_CLOSE_SHARE))
    if delete and process.alive is not False and agent.can_delete and agent.session_id is not None:
        with run.step(run.reached):  # after the close: an agent may keep a session that is open
            await agent.delete_session(run.seconds_left(_DELETE_SHARE))
    await run.group_runs()  # what the agent leaves behind when it exits now stays known
    if process.alive is not False:
        with run.step("eof"):
            process.close_stdin()
            await run.exits(min(_EOF_SECONDS, run.seconds_left(_EOF_SHARE)))
    if process.alive is not False or await run.group_runs() is not False:
        with run.step("sigterm"):
            process.terminate()
            if await run.exits(run.seconds_left()):
                await run.group_ends()
