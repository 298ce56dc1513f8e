"""PID 1 of each pod: it ends everything in the pod once its daemon is silent for 60 s, or gone.

It reads a line from its stdin each time, which the daemon sends over an attach every 20 s. At the end of its stdin, and
where no line comes in time, it ends, and the kernel ends all other processes of the pod with it (pid_namespaces(7)).
So nothing of a pod runs on where the daemon was killed, and nothing where its node has lost the network. It is no
defence against the agent itself: a process of the same user can write to its stdin. Such a pod is found by its labels
when the next daemon starts, and the cluster ends it after its ``activeDeadlineSeconds``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from acpbot.aio import TaskSet
from acpbot.errors import AgentGone, AgentTimeout
from acpbot.runtimes.kubernetes.exec_stream import PING_SECONDS, BeatStream, open_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.runtimes.kubernetes.channels import ExecStatus
    from acpbot.runtimes.kubernetes.exec_stream import ExecStream
    from acpbot.runtimes.kubernetes.pod_ref import PodRef
    from acpbot.runtimes.kubernetes.run_inside import Targets

SILENT_SECONDS: Final = 60
BEAT_SECONDS: Final = 20.0
NAME: Final = "acpbot-deadman"
"""How the first process of a pod is known: a word of its command line."""

_FIRST: Final = f""": {NAME}
(read -t 1 _ </dev/null) 2>/dev/null
[ $? -ne 1 ] || {{ eval "$1"; exit 0; }}
exec bash -c "$1" {NAME}"""
# Some shells, such as Debian's, have no `read -t`; where they are, bash is too.


def command(silent_seconds: int = SILENT_SECONDS) -> tuple[str, ...]:
    """Return what PID 1 runs. Its stdin must be open, and closed after the first attach (``stdinOnce``)."""
    # Each `(:)` has the shell wait for a child, and so for the orphans that have ended meanwhile.
    loop = f""": {NAME}
trap 'exit 0' TERM INT
while read -t {silent_seconds} _; do (:); done"""
    return ("/bin/sh", "-c", _FIRST, NAME, loop)


COMMAND: Final = command()
"""The command of the container."""


class DeadMan:
    """Sends the beat to one pod. ``on_cut``: the connection is cut, so the dead-man ends the pod.

    ``pace``: the length of the pauses, as a factor.
    """

    def __init__(self, on_cut: Callable[[], None], *, pace: float = 1.0) -> None:
        self._on_cut = on_cut
        self._pace = pace
        self._stream: ExecStream | None = None
        self._tasks = TaskSet("deadman")
        self._last_beat = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """How long ago the last beat was sent, or tried for the first time."""
        return time.monotonic() - self._last_beat

    async def attach(self, targets: Targets, pod: PodRef) -> None:
        """Attach to the first process, and send the beat from now on. Raises `OSError`."""
        target = await targets.attach_target(pod.name)
        self._stream = await open_stream(target, self, BeatStream, ping_seconds=PING_SECONDS * self._pace)
        self._tasks.start(self._beat(self._stream), name="beat")

    async def release(self) -> None:
        """Let the dead-man end the pod now. May be called again."""
        await self._tasks.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    def stdout_received(self, _: bytes) -> None:
        """It writes nothing."""

    def stderr_received(self, _: bytes) -> None:
        """It writes nothing."""

    def stream_ended(self, _: ExecStatus | None) -> None:
        """Whatever a status says: an attach says Success for every end."""
        self._on_cut()

    async def _beat(self, stream: ExecStream) -> None:
        while True:
            try:
                stream.write(b"\n")
            except (AgentGone, AgentTimeout):
                return  # `stream_ended` says so
            self._last_beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS * self._pace)
