"""Ends everything in a pod, with a proof: from inside, or by the word of its kubelet.

An object that is gone from the cluster proves nothing: a pod that was deleted by force runs on where its node is cut
off. Nothing is forced here either. Where no command can be run in the pod, its dead-man is let go, which ends the pod
on any node, 60 s after the last beat at the latest. An agent that defends itself against both, by ending each command
and by writing to its dead-man, is left to its kubelet: the pod is deleted with the usual grace.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from acpbot.runtimes.kubernetes import look_inside
from acpbot.runtimes.kubernetes.deadman import SILENT_SECONDS
from acpbot.runtimes.kubernetes.exec_stream import StreamRefused
from acpbot.runtimes.kubernetes.look_inside import CannotRead
from acpbot.runtimes.kubernetes.run_inside import CommandNotRun, run_inside
from acpbot.runtimes.runtime import KillReport

if TYPE_CHECKING:
    from acpbot.runtimes.kubernetes.agent_start import Begin
    from acpbot.runtimes.kubernetes.deadman import DeadMan
    from acpbot.runtimes.kubernetes.look_inside import Listing
    from acpbot.runtimes.kubernetes.pod_ref import Fate, PodRef
    from acpbot.runtimes.kubernetes.run_inside import Targets
    from acpbot.runtimes.runtime import ProcessInfo, Proof

ASK_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.03
_RETRY_SECONDS: Final = 0.25
_LOOKS_THAT_PROVE: Final = 2
_NOT_FOUND: Final = 404
_SURELY_SILENT_SECONDS: Final = SILENT_SECONDS + 20


class Pods(Protocol):
    """What the runtime knows of pods."""

    async def fate(self, pod: PodRef, /) -> Fate:
        """Ask the cluster what has become of a pod. Raises `OSError` where nobody can ask."""

    def gone(self, pod: PodRef, /) -> None:
        """Begin to remove the pod, with the usual grace; return at once. May be called again."""


async def ask_fate(pods: Pods, pod: PodRef, seconds: float = ASK_SECONDS) -> Fate:
    """Ask what has become of a pod. Raises `OSError` where nobody can ask, or has answered in time."""
    async with asyncio.timeout(seconds):
        return await pods.fate(pod)


async def kill_inside(
    targets: Targets, pods: Pods, pod: PodRef, *, agent: Begin, deadman: DeadMan, seconds: float
) -> KillReport:
    """End every process of the pod; return once two looks in a row find none, the kubelet says so, or time is up.

    Its node does not answer: the report is not settled, and proves nothing. Raises `OSError` where nobody can ask.
    """
    began = time.monotonic()
    before: tuple[ProcessInfo, ...] | None = None
    left: tuple[ProcessInfo, ...] = ()
    looks = clean = 0

    def report(proof: Proof, *, settled: bool) -> KillReport:
        killed = max(0, len(before or ()) - len(left))
        return KillReport(killed, left, settled, proof, looks, time.monotonic() - began)

    while True:
        remaining = began + seconds - time.monotonic()
        try:
            # An agent can stop a command that it sees: time is left for the kubelet's word.
            first, second = await _kill(targets, pod, agent, max(1.0, remaining / 2))
        except (StreamRefused, CommandNotRun, CannotRead) as error:
            clean, left = 0, ()
            await deadman.release()
            fate = await ask_fate(pods, pod)
            proof = _proof_without_a_look(fate, deadman, error)
            if proof is not None:
                return report(proof, settled=True)
            if fate.alive is True and isinstance(error, CommandNotRun):  # a refusal may be that of a lost node
                pods.gone(pod)
            pause = _RETRY_SECONDS
        else:
            looks += 1
            before = first.processes if before is None else before
            left = second.processes
            clean = 0 if left else clean + 1
            if clean == _LOOKS_THAT_PROVE:
                return report("engine", settled=True)
            pause = _AGAIN_SECONDS if left else 0.0
        if time.monotonic() >= began + seconds:
            return report("engine" if left else "none", settled=False)
        await asyncio.sleep(pause)


async def _kill(targets: Targets, pod: PodRef, agent: Begin, seconds: float) -> tuple[Listing, Listing]:
    output = await run_inside(targets, pod, look_inside.KILL_ALL, seconds=seconds)
    if output.code:
        raise CommandNotRun(f"the first process of the pod {pod.name} is not acpbot's")
    return look_inside.read_kill(output.out, pid=agent.pid, parent=agent.parent)


def _proof_without_a_look(fate: Fate, deadman: DeadMan, error: OSError) -> Proof | None:
    """Who says that nothing is left, though no command runs there: ``None`` where there may be something."""
    if fate.alive is False:
        return "engine"
    no_object = isinstance(error, StreamRefused) and error.status == _NOT_FOUND
    if no_object and fate.alive is None and deadman.silent_seconds > _SURELY_SILENT_SECONDS:
        return "none"  # nobody has seen it, and nothing is left to ask
    return None
