"""A short command in a pod, by exec: nothing is sent to it, and its output comes back whole.

What is asked for is written into the logs of API servers: the words of a command hold no secret.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from acpbot.runtimes.kubernetes.exec_stream import open_stream
from acpbot.runtimes.kubernetes.unanswered import Unanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.runtimes.kubernetes.channels import ExecStatus
    from acpbot.runtimes.kubernetes.pod_ref import ExecTarget, PodRef

RUN_SECONDS: Final = 10.0
_OUTPUT_BYTES: Final = 4 * 1024 * 1024


class Targets(Protocol):
    """Knows how streams are opened; `acpbot.runtimes.kubernetes.api.Cluster` is one. Both raise `OSError`."""

    context: str | None

    async def exec_target(self, pod: str, command: Sequence[str], *, stdin: bool) -> ExecTarget:
        """Return what runs a command in a pod."""

    async def attach_target(self, pod: str) -> ExecTarget:
        """Return what leads to the stdin of a pod's first process."""


class Output(NamedTuple):
    """``code``: the exit code, 128 + n for signal n."""

    code: int
    out: bytes
    err: bytes


class CommandNotRun(Unanswered):
    """The pod runs, as far as is known, and the command has not run in it, or nobody can tell how it has ended."""


class _Collector:
    """Keeps the output, and the status once it is there."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self.ended: asyncio.Future[ExecStatus | None] = asyncio.get_running_loop().create_future()
        self.too_much = False

    def stdout_received(self, data: bytes) -> None:
        self._keep(self.out, data)

    def stderr_received(self, data: bytes) -> None:
        self._keep(self.err, data)

    def stream_ended(self, status: ExecStatus | None) -> None:
        if not self.ended.done():
            self.ended.set_result(status)

    def _keep(self, kept: bytearray, data: bytes) -> None:
        if len(kept) + len(data) > _OUTPUT_BYTES:
            self.too_much = True
            self.stream_ended(None)
        else:
            kept += data


async def run_inside(targets: Targets, pod: PodRef, command: Sequence[str], *, seconds: float = RUN_SECONDS) -> Output:
    """Run a command; return how it ended and what it wrote.

    Raises `OSError`: `StreamUnreachable` and `StreamRefused` where no stream could be opened, `CommandNotRun` where it
    did not run, where its stream was cut, where it takes longer than ``seconds``, or where it writes more than 4 MiB.
    """
    collector = _Collector()
    try:
        async with asyncio.timeout(seconds):
            stream = await open_stream(await targets.exec_target(pod.name, command, stdin=False), collector)
            try:
                status = await collector.ended
            finally:
                await stream.aclose()
    except TimeoutError as error:
        raise CommandNotRun(f"the pod {pod.name} does not answer within {seconds:g} s") from error
    if collector.too_much:
        raise CommandNotRun(f"a command in the pod {pod.name} wrote too much output")
    if status is None:
        raise CommandNotRun(f"the connection to the pod {pod.name} was cut")
    if status.code is None:
        raise CommandNotRun(f"no command can be run in the pod {pod.name}: {status.message}")
    return Output(status.code, bytes(collector.out), bytes(collector.err))
