"""The protocol of a runtime: how agents are started, watched and ended, wherever they run.

A `Launcher` starts agents; an `AgentProcess` is one of them. `acpbot.runtimes.local.launcher` implements both with
processes of this machine. Code above this package uses only what is declared here: it must not assume that ``pid`` is
set, nor that a signal can reach anything.

`acpbot.sessions.terminate` ends an agent like this::

    await process.look()             # remembers every descendant while its parents are alive
    ...                              # session/cancel, session/close: over the agent's stdin and stdout
    process.close_stdin()            # EOF
    process.terminate()              # SIGTERM
    process.kill()                   # SIGKILL
    report = await process.kill_container()   # everything that is left
    await process.aclose()

**"Cannot look" is never "is gone".** `look`, `kill_container`, `aclose` and `Launcher.sample` raise `OSError` where the
system can't be asked (no descriptor, no /proc, no thread). They never report an empty result instead. Where a command
takes its program elsewhere, a look shows the client alone: `AgentProcess.elsewhere` says so.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from acpbot.runtimes.pipes import StderrRing


class StdoutSink(Protocol):
    """Receives an agent's stdout. Both methods are called on the event loop and must neither block nor raise."""

    def data_received(self, data: bytes, /) -> None:
        """Receive a chunk: 1 byte to 256 KiB, cut anywhere."""

    def eof(self) -> None:
        """The agent and every process that inherited its stdout have closed it. Called at most once."""


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """What to start.

    ``argv`` is the command, looked up in ``env``'s PATH. ``env`` is the whole environment, except for the two markers
    that the launcher adds. ``session_id`` may hold letters, digits, ``_``, ``.`` and ``-``. ``memory_max`` (bytes) and
    ``pids_max`` limit the session's processes together; `AgentProcess.limits_not_held` names those that can't be
    applied. ``process_namespace``: it must run in a process namespace of its own.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    session_id: str
    memory_max: int | None = None
    pids_max: int | None = None
    process_namespace: bool = False


class LimitNotHeld(msgspec.Struct, frozen=True):
    """A limit of the `LaunchSpec` that does not hold for a session, and why; ``reason`` is a clause."""

    limit: str
    reason: str

    def __str__(self) -> str:
        return f"{self.limit} can't be applied: {self.reason}"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One living process of a session. ``start_time`` is in clock ticks since boot, ``state`` a letter of proc(5).

    ``command`` is one printable line; ``cpu_seconds`` is the process's own, without its children's.
    """

    pid: int
    ppid: int
    start_time: int
    pgid: int
    sid: int
    state: str
    command: str
    rss_bytes: int
    cpu_seconds: float
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What one session uses: living processes, resident bytes (shared pages count in each process), CPU seconds.

    ``cpu_seconds`` includes processes that have ended as far as the system accounts for them: all of them in a
    cgroup, else those that a living one has waited for.
    """

    processes: int
    rss_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class KillReport:
    """What it took to empty a session's container.

    ``killed`` counts the processes that were sent SIGKILL; ``left`` holds those that the last look found alive.
    ``proven``: two looks in a row found no living process, and no dead one of a process that forks and exits faster
    than a look can see. ``looks`` and ``seconds`` say what the proof cost.
    """

    killed: int
    left: tuple[ProcessInfo, ...]
    proven: bool
    looks: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Identifies a process of this machine for a later daemon, and no other process with the same pid.

    ``start_time``: clock ticks since the boot that ``boot_id`` names (proc(5)).
    """

    pid: int
    start_time: int
    boot_id: str


class AgentProcess(Protocol):
    """One running agent and everything that it started. All methods belong to the event loop that launched it."""

    session_id: str
    pid: int | None
    """The leader's process id, ``None`` where it has none on this machine."""
    identity: ProcessIdentity | None
    """How a later daemon finds the leader again, ``None`` where it had ended or is not a process of this machine."""
    stderr: StderrRing
    limits_not_held: tuple[LimitNotHeld, ...]
    """The limits of the `LaunchSpec` that don't hold for this session."""
    elsewhere: str | None
    """The program that takes the agent to where no look of this process can see it, such as ssh; else ``None``."""

    @property
    def alive(self) -> bool:
        """Whether the leader runs: its exit was not seen yet. An open stdout says nothing about it."""

    @property
    def returncode(self) -> int | None:
        """The leader's exit code, minus the signal's number where a signal ended it, ``None`` while it runs."""

    def write(self, data: bytes, /) -> None:
        """Queue ``data`` for stdin, in order; never blocks.

        Raises `AgentGone` once the agent has ended or stdin is closed, and `AgentTimeout` where more than the limit
        (8 MiB) would be unread; one larger message is accepted while nothing is queued.
        """

    def pause_reading(self) -> None:
        """Leave stdout in the pipe: the agent blocks once the pipe is full."""

    def resume_reading(self) -> None:
        """Read stdout again."""

    def close_stdin(self, flush_seconds: float = 1.0) -> None:
        """Send EOF after what is queued; what the agent does not read within ``flush_seconds`` is dropped."""

    async def wait(self) -> int:
        """Wait until the leader ends; return its exit code. Any number of tasks may wait, at any time.

        What the leader wrote until then has been delivered, unless reading is paused. A grandchild that keeps a pipe
        open delays nothing. Raises `AgentGone` where the process was closed while nothing could end the leader.
        """

    def terminate(self) -> None:
        """Send SIGTERM to the leader's process group; nothing happens where the group is empty."""

    def kill(self) -> None:
        """Send SIGKILL to the leader's process group; nothing happens where the group is empty."""

    async def look(self) -> list[ProcessInfo]:
        """Return the living processes as they are now, the leader first. Raises `OSError` where it can't look.

        A look also remembers: take one before you end anything, so that processes that lose their parents stay known.
        """

    async def kill_container(self, deadline_seconds: float = 5.0) -> KillReport:
        """Send SIGKILL to every process until two looks in a row find none, or until the deadline.

        Raises `OSError` where it can't look: then nothing is known about what is left.
        """

    async def aclose(self) -> None:
        """End what still runs and release pipes, descriptors and the container. May be called again.

        Everything that can be released is released, also where it raises `OSError` because it can't look. What may be
        left stays known: `kill_container` can be called again.
        """


class Launcher(Protocol):
    """Starts agents."""

    kind: str

    @property
    def strays(self) -> Sequence[ProcessIdentity]:
        """The processes of no known session that the last look has found; no call is needed to end them."""

    async def launch(self, spec: LaunchSpec, stdout: StdoutSink, /) -> AgentProcess:
        """Start an agent. Cancelled, it leaves no process behind.

        Raises `AgentStartError` where the command can't be started.
        """

    async def sample(self, processes: Iterable[AgentProcess], /) -> dict[str, Usage]:
        """Return what each session uses, by session_id, from one look at the system.

        Also reaps orphans that have ended: call it every few seconds. Raises `OSError` where it can't look.
        """

    async def aclose(self) -> None:
        """End what still runs and release everything."""


def exit_text(returncode: int) -> str:
    """Return an exit code in words: 'exit code 3', 'SIGKILL'."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
